#!/usr/bin/env python3
"""Saves a store of LangChain's with FAISS, and what LangChain says of its rows: how tests/fixtures/langchain was made.

  langchain_store.py DIRECTORY      with langchain-community 0.4.2 and faiss-cpu 1.15.1 of PyPI"""
import sys, os
from langchain_community.vectorstores import FAISS
from langchain_community.docstore.in_memory import InMemoryDocstore
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
import faiss, numpy as np, json
class E(Embeddings):
    def embed_documents(self, texts): return [self.embed_query(t) for t in texts]
    def embed_query(self, t): return [float(len(t)), float(sum(t.encode()) % 97), 0.5, -1.25]
out = sys.argv[1]
docs = [Document(page_content="text %d ü\"\n" % i, metadata={"source": "file %d.txt" % (i % 3), "page": i, "score": i / 4, "ok": i % 2 == 0, "none": None, "tags": ["a", {"b": [i]}], "big": 2**40 + i}) for i in range(12)]
store = FAISS.from_documents(docs, E(), ids=["id-%02d" % i for i in range(12)])
store.add_texts(["later"], metadatas=[{}])
store.delete(["id-03", "id-07"])
store.save_local(out)
rows = []
for n, key in store.index_to_docstore_id.items():
    d = store.docstore.search(key)
    rows.append({"id": key, "text": d.page_content, "metadata": d.metadata, "vector": store.index.reconstruct(n).tolist()})
json.dump(rows, open(os.path.join(out, "expected.json"), "w"), indent=1)
