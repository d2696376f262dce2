"""A directory laid out as LangChain's FAISS store saves it, where LangChain itself is not: DIRECTORY ROWS.

Classes of the same names stand in for its own, and are pickled as those are; tests/fixtures/langchain was saved by LangChain.
"""
import os, pickle, sys, types
import faiss, numpy as np

directory, rows = sys.argv[1], int(sys.argv[2])


class InMemoryDocstore:
    def __init__(self, documents):
        self._dict = documents


class Document:
    def __init__(self, text, metadata):
        self.fields = {"id": None, "metadata": metadata, "page_content": text, "type": "Document"}

    def __getstate__(self):
        return {"__dict__": self.fields, "__pydantic_extra__": None,
                "__pydantic_fields_set__": {"page_content", "metadata"}, "__pydantic_private__": None}


for stand_in, module in [(InMemoryDocstore, "langchain_community.docstore.in_memory"), (Document, "langchain_core.documents.base")]:
    parts = module.split(".")
    for n in range(1, len(parts) + 1):
        name = ".".join(parts[:n])
        sys.modules.setdefault(name, types.ModuleType(name))
    stand_in.__module__ = module
    setattr(sys.modules[module], stand_in.__name__, stand_in)

os.makedirs(directory)
index = faiss.IndexFlatL2(4)
index.add(np.array([[n, n / 4, 0.5, -1.25] for n in range(rows)], np.float32).reshape(rows, 4))
faiss.write_index(index, os.path.join(directory, "index.faiss"))
documents = {f"id-{n:05}": Document(f"text {n}", {"page": n}) for n in range(rows)}
with open(os.path.join(directory, "index.pkl"), "wb") as file:
    pickle.dump((InMemoryDocstore(documents), dict(enumerate(documents))), file)
