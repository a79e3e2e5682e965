"""An exported run without Blood Cell Lab: pip install onnxruntime numpy opencv-python-headless
python onnx_example.py RUN.onnx PICTURE…      (pictures of one cell, cut out as RUN.json says)"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

file = Path(sys.argv[1])
facts = json.loads(file.with_suffix(".json").read_text())
session = onnxruntime.InferenceSession(str(file))
size = facts["inputs"][0]["size"]
if facts["inputs"][0]["colours"] != "as they are":
    sys.exit("this run wants its pictures' colours balanced first: see docs/onnx.md")
print("each picture must be:", facts["inputs"][0]["words"], file=sys.stderr)  # it is resized here, and not cut out
for path in sys.argv[2:]:
    picture = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)
    way = cv2.INTER_AREA if min(picture.shape[:2]) >= size else cv2.INTER_CUBIC
    pixels = cv2.resize(picture, (size, size), interpolation=way)
    shares = session.run(["probabilities"], {entry["name"]: pixels[np.newaxis] for entry in facts["inputs"]})[0][0]
    best, sure = facts["classes"][shares.argmax()], shares.max() >= facts["review_threshold"]
    print(path, best if sure else f"unsure ({best})", *(f"{p:.4f}" for p in shares))
