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
seen, *others = facts["inputs"]
if others:
    sys.exit("this ensemble sees each cell in several views, each cut out otherwise: see docs/onnx.md")
if seen["colours"] != "as they are":
    sys.exit("this run wants its pictures' colours balanced first: see docs/onnx.md")
print("each picture must be:", seen["words"], file=sys.stderr)  # it is resized here, and not cut out
for path in sys.argv[2:]:
    picture = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)
    way = cv2.INTER_AREA if min(picture.shape[:2]) >= seen["size"] else cv2.INTER_CUBIC
    pixels = cv2.resize(picture, (seen["size"], seen["size"]), interpolation=way)
    shares = session.run(["probabilities"], {seen["name"]: pixels[np.newaxis]})[0][0]
    best, sure = facts["classes"][shares.argmax()], shares.max() >= facts["review_threshold"]
    print(path, best if sure else f"unsure ({best})", *(f"{p:.4f}" for p in shares))
