"""Turns pip's installation report into constraints.txt: one exact version of everything an extra can pull in.

Usage: python .ci/constraints.py REPORT.json > constraints.txt   (`make lock` does it)
"""

import json
import re
import sys
from pathlib import Path

OWN = {"simvae", "simvae-client"}
HEADER = """\
# Every version this project was tested with; `make lock` writes it. Both ONNX Runtimes stand here, one is installed.
"""


def constraints(report: Path) -> str:
    """Lists `name==version`, sorted, without this project's own and without local versions (`+cpu`)."""
    packages = (entry["metadata"] for entry in json.loads(report.read_bytes())["install"])
    pins = {re.sub("[-_.]+", "-", item["name"]).lower(): item["version"].partition("+")[0] for item in packages}
    return HEADER + "".join(f"{name}=={pins[name]}\n" for name in sorted(pins.keys() - OWN))


if __name__ == "__main__":
    sys.stdout.write(constraints(Path(sys.argv[1])))
