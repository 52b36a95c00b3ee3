"""Calls of KServe's own clients: ``kserve_client.py BASE_URL GRPC_ADDRESS PHOTO...`` prints what came back as JSON.

It runs in an environment of its own, because kserve wants an older protobuf than the project.
"""

import asyncio
import json
import sys
from pathlib import Path

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.inference_client import InferenceGRPCClient


async def main(base: str, address: str, photos: list[Path]) -> dict[str, object]:
    second = InferenceRESTClient(RESTConfig(protocol="v2"))
    first = InferenceRESTClient(RESTConfig(protocol="v1"))

    async def infer(model: str, name: str, values: np.ndarray, datatype: str, binary: bool) -> dict[str, object]:
        infer_input = InferInput(name, list(values.shape), datatype)
        infer_input.set_data_from_numpy(values, binary_data=binary)
        answer = await second.infer(base, InferRequest(model_name=model, infer_inputs=[infer_input]), model_name=model)
        return {output.name: output.as_numpy().tolist() for output in answer.outputs}

    async def infer_over_grpc(
        model: str, name: str, values: np.ndarray, datatype: str, binary: bool
    ) -> dict[str, object]:
        infer_input = InferInput(name, list(values.shape), datatype)
        infer_input.set_data_from_numpy(values, binary_data=binary)
        answer = await grpc.infer(InferRequest(model_name=model, infer_inputs=[infer_input]))
        return {output.name: output.as_numpy().tolist() for output in answer.outputs}

    grpc = InferenceGRPCClient(address)
    encoded = np.array([photo.read_bytes() for photo in photos], np.object_)
    values = np.array([[1, 2], [3, 4]], np.float32)
    return {
        "live": await second.is_server_live(base),
        "ready": await second.is_server_ready(base),
        "models": {name: await second.is_model_ready(base, name) for name in ("doubler", "colours", "nope")},
        "tensors": [await infer("doubler", "x", values, "FP32", binary) for binary in (True, False)],
        "photos": await infer("colours", "image_bytes", encoded, "BYTES", True),
        "grpc": {
            "live": await grpc.is_server_live(),
            "ready": await grpc.is_server_ready(),
            "models": {name: await grpc.is_model_ready(name) for name in ("doubler", "colours", "nope")},
            "tensors": [await infer_over_grpc("doubler", "x", values, "FP32", binary) for binary in (True, False)],
            "photos": await infer_over_grpc("colours", "image_bytes", encoded, "BYTES", True),
        },
        "rows": await first.infer(base, {"instances": values.tolist()}, model_name="doubler"),
    }


if __name__ == "__main__":
    answers = asyncio.run(main(sys.argv[1], sys.argv[2], [Path(path) for path in sys.argv[3:]]))
    sys.stdout.write(json.dumps(answers, default=bytes.decode))
