"""Lint and render a chart with Helm's own code: ``helm_render.py CHART VALUES_AS_JSON`` prints the result as JSON.

It runs in the environment for published clients, which has the package helm-python-sdk.
"""

import json
import sys

from helm_python.chart import Chart, lint
from helm_python.errors import HelmError

chart, values = sys.argv[1], json.loads(sys.argv[2])
try:
    report = lint(chart, values, strict=True)
    files = Chart.load(chart).render(values, name="breed", namespace="photos")
    text = "\n---\n".join(content for name, content in sorted(files.items()) if name.endswith(".yaml"))
    result = {"errors": report["errors"], "text": text}
except HelmError as error:
    result = {"errors": [str(error)], "text": ""}
sys.stdout.write(json.dumps(result))
