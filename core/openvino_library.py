"""OpenVINO without the package that reports over the network what was done with it. Import `openvino` from here."""

from __future__ import annotations

import sys

# OpenVINO's wheel requires it, imports it at `import openvino` and does without where it is not there.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino  # noqa: E402
import openvino.opset13 as opset  # noqa: E402
import openvino_genai  # noqa: E402

__all__ = ["openvino", "openvino_genai", "opset"]
