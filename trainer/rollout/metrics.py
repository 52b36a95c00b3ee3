"""Read the counters of gateways, from their `/metrics` or from a Prometheus."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import urlencode

from prometheus_client.parser import text_string_to_metric_families

from trainer.errors import TrainerError

SECONDS: Final = 5.0
"""Time limit of a request."""

COUNTERS: Final = (
    "gateway_requests_total",
    "gateway_predictions_total",
    "gateway_version_predict_seconds_bucket",
    "gateway_feedback_total",
    "gateway_shadow_images_total",
)
SHARE: Final = "gateway_traffic_share"


@dataclass(frozen=True)
class Sample:
    """One value of a metric, and the gateway that it comes from."""

    source: str
    name: str
    labels: tuple[tuple[str, str], ...]
    value: float

    @property
    def by_label(self) -> Mapping[str, str]:
        """The labels as a mapping."""
        return dict(self.labels)


class Source(Protocol):
    """Where metrics of a model come from."""

    def read(self, model: str) -> list[Sample]:
        """Returns the samples of `COUNTERS` and `SHARE` of a model.

        Raises:
            TrainerError: There is no answer, or it cannot be read.
        """


class Gateways:
    """The metrics of one or more gateways.

    Args:
        urls: Addresses of `/metrics`. Behind one address there must be one gateway, not a load balancer.
        api_key: API key, if the gateways want one.
    """

    def __init__(self, urls: Sequence[str], api_key: str | None = None) -> None:
        self._urls = [url if url.rstrip("/").endswith("/metrics") else f"{url.rstrip('/')}/metrics" for url in urls]
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}

    def read(self, model: str) -> list[Sample]:
        """See `Source`."""
        samples = []
        for url in self._urls:
            text = _get(url, self._headers).decode()
            try:
                for family in text_string_to_metric_families(text):
                    samples += [
                        Sample(url, sample.name, tuple(sorted(sample.labels.items())), sample.value)
                        for sample in family.samples
                        if sample.name in (*COUNTERS, SHARE) and sample.labels.get("model") == model
                    ]
            except ValueError as error:
                raise TrainerError(f"{url} does not return metrics of a gateway: {error}") from error
        return samples


class Prometheus:
    """The metrics of all gateways that a Prometheus scrapes.

    Args:
        url: Its address, such as http://prometheus:9090.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def read(self, model: str) -> list[Sample]:
        """See `Source`."""
        names = "|".join((*COUNTERS, SHARE))
        query = urlencode({"query": f'{{__name__=~"{names}",model="{model}"}}'})
        text = _get(f"{self._url}/api/v1/query?{query}", {})
        try:
            response = json.loads(text)
            samples = []
            for result in response["data"]["result"]:
                labels = dict(result["metric"])
                name = labels.pop("__name__")
                samples.append(Sample(self._url, name, tuple(sorted(labels.items())), float(result["value"][1])))
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise TrainerError(f"{self._url} does not answer like a Prometheus: {error!r}") from error
        return samples


class Increases:
    """Turns counters into what was added since the last call, across restarts of gateways."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str, tuple[tuple[str, str], ...]], float] = {}

    def of(self, samples: Sequence[Sample]) -> list[Sample]:
        """Returns each counter that has changed, with what was added. A counter that fell began again at 0."""
        added = []
        for sample in samples:
            key = sample.source, sample.name, sample.labels
            last = self._last.get(key, 0.0)
            self._last[key] = sample.value
            more = sample.value - last if sample.value >= last else sample.value
            if more:
                added.append(Sample(sample.source, sample.name, sample.labels, more))
        return added


def _get(url: str, headers: Mapping[str, str]) -> bytes:
    if not url.startswith(("http://", "https://")):
        raise TrainerError(f"{url} is not an address; it should begin with http:// or https://")
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=dict(headers)), timeout=SECONDS) as answer:  # noqa: S310
            content: bytes = answer.read()
            return content
    except (OSError, urllib.error.HTTPError) as error:
        raise TrainerError(f"no metrics from {url}: {error}; --metrics names the gateways") from error
