"""Loads what `lateforge export qdrant` wrote into qdrant-client's local mode and searches it: every document must come back with its
payload, and the query's hits must be those of MaxSim computed by numpy from the same file, with equal scores.

pip install qdrant-client numpy; python bench/peers/qdrant_export.py FOLDER
"""

import json
import pathlib
import sys

import numpy as np
from qdrant_client import QdrantClient, models

folder = pathlib.Path(sys.argv[1])
collection = json.loads((folder / "collection.json").read_text())
query = json.loads((folder / "query.json").read_text())
client = QdrantClient(":memory:")
client.create_collection("exported", vectors_config=models.VectorParams.model_validate(collection["vectors"]))

documents = {}
with open(folder / "points.jsonl") as lines:
    for line in lines:
        points = models.PointsList.model_validate_json(line).points
        client.upsert("exported", points)
        for point in points:
            documents[point.payload["id"]] = np.asarray(point.vector, np.float32)
print(client.count("exported").count, "documents,", sum(map(len, documents.values())), "token vectors")
assert client.count("exported").count == len(documents)

asked = np.asarray(query["query"], np.float32)
exact = {name: float((asked @ vectors.T).max(axis=1).sum()) for name, vectors in documents.items()}
best = sorted(exact, key=exact.get, reverse=True)[: query["limit"]]
found = client.query_points("exported", query=query["query"], limit=query["limit"], with_payload=query["with_payload"]).points
differences = [abs(hit.score - exact[hit.payload["id"]]) for hit in found]
print("hits", [hit.payload["id"] for hit in found])
print("as exact:", [hit.payload["id"] for hit in found] == best, " largest difference of a score:", max(differences))
assert [hit.payload["id"] for hit in found] == best and max(differences) < 1e-3
