"""A stand-in for Pinecone: the calls that read an index of the service, written from its API (2025-10).

    fake_pinecone.py serve KIND [KEY]   prints PORT=…, serves until its standard input ends; KEY: an API key it asks for
    fake_pinecone.py rows KIND NAMESPACE
                                        JSON: {id: {column: value}} as the rows of a namespace should arrive
    fake_pinecone.py parquet KIND DIR   the same as a directory of Parquet, as Pinecone imports it (pyarrow)

KIND: `dense` (two namespaces and the one without a name), `hybrid` (some rows have sparse values), `sparse`, `moving` (rows
come and go while they are read), `empty`, `still` (a few rows), `pods` (an index that cannot list), `mixed` (lists in a wrong order), `busy` (refuses
every few requests, and forgets its tokens).

No service of Pinecone's can be had here; nothing but this was tried.
"""
import hashlib, http.server, json, os, random, struct, sys, threading, time, urllib.parse


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


NASTY = ["a b", "ü/\"quoted\"\\", "%2F?&=#", "0", "\u202e", "x" * 500, "{}", "'", "日本", "~"]


def row(rng, n, kind):
    vector = {}
    if kind != "sparse":
        vector["values"] = [f32(rng.uniform(-1, 1)) for _ in range(8)]
    if kind == "sparse" or kind == "hybrid" and n % 3:
        indices = rng.sample(range(2**32), 5) + [2**32 - 1 - n]
        vector["sparseValues"] = {"indices": indices, "values": [f32(rng.random() + 0.1) for _ in indices]}
    if n % 7:
        vector["metadata"] = {"n": float(n), "text": f"row {n} \"ü\"\n", "yes": n % 2 == 0, "tags": ["a", "ü"][:n % 3]}
    return vector


def index(kind):
    rng = random.Random(6)
    make = lambda ids: {i: row(rng, n, kind) for n, i in enumerate(ids)}
    if kind == "empty":
        return {}
    if kind == "moving":
        return {"": make([f"{'move' if n % 10 == 3 else 'keep'}-{hashlib.md5(str(n).encode()).hexdigest()}" for n in range(5000)])}
    if kind in ("dense", "busy"):
        return {"": make(NASTY + [f"doc#{n}" for n in range(1500)]), "spring": make(f"s{n}" for n in range(230)),
                "ü b": make(f"u{n}" for n in range(3))}
    return {"": make(f"{kind}-{n}" for n in range(30 if kind == "still" else 700))}


def arriving(kind, namespace):
    """What of each row should arrive."""
    rows = {}
    for i, vector in index(kind)[namespace].items():
        found = {"payload": vector.get("metadata", {})}
        if "values" in vector:
            found["values"] = vector["values"]
        if kind in ("hybrid", "sparse"):
            sparse = vector.get("sparseValues")
            found["sparse_values"] = sorted(map(list, zip(sparse["indices"], sparse["values"]))) if sparse else None
        rows[i] = found
    return rows


class Index:
    def __init__(self, kind, key):
        self.kind, self.key, self.spaces, self.lock = kind, key, index(kind), threading.Lock()
        self.rng, self.calls, self.tokens = random.Random(2), 0, {}

    def move(self):
        """Others write: rows called keep are never touched."""
        rows = self.spaces[""]
        ids = [i for i in rows if not i.startswith("keep")]
        for i in self.rng.sample(ids, min(3, len(ids))):
            del rows[i]
        for _ in range(3):
            n = self.rng.randrange(10**9)
            rows[f"new-{hashlib.md5(str(n).encode()).hexdigest()}"] = row(self.rng, n, "dense")

    def answer(self, method, path, query, key):
        with self.lock:
            self.calls += 1
            if self.key and key != self.key:
                return 401, {"code": 16, "message": "Invalid API Key", "details": []}
            if self.kind == "busy" and self.calls > 20 and self.calls % 5 == 0:
                return 429, {"code": 8, "message": "Too many requests"}
            space = query.get("namespace", [""])[0]
            if path == "/describe_index_stats":
                said = {"namespaces": {n: {"vectorCount": len(v)} for n, v in self.spaces.items()}, "indexFullness": 0,
                        "totalVectorCount": sum(map(len, self.spaces.values())), "metric": "dotproduct",
                        "vectorType": "sparse" if self.kind == "sparse" else "dense"}
                if self.kind != "sparse":
                    said["dimension"] = 8
                return 200, said
            rows = self.spaces.get(space, {})
            if path == "/vectors/list":
                if self.kind == "pods":
                    return 400, {"code": 3, "message": "Listing vectors is supported only for serverless indexes."}
                assert "__default__" not in space
                return self.list(rows, query)
            if path == "/vectors/fetch":
                if self.kind == "moving":
                    self.move()
                ids = query.get("ids", [])
                assert 0 < len(ids) <= 1000
                found = {i: {"id": i, **rows[i]} for i in ids if i in rows}
                # A map, in no order.
                mixed = list(found)
                self.rng.shuffle(mixed)
                return 200, {"vectors": {i: found[i] for i in mixed}, "namespace": space, "usage": {"readUnits": len(ids) / 10}}
            return 404, {"code": 5, "message": "Not Found"}

    def list(self, rows, query):
        prefix, limit = query.get("prefix", [""])[0], int(query["limit"][0])
        assert 0 < limit <= 100
        after = b""
        if token := query.get("paginationToken", [None])[0]:
            if token not in self.tokens:
                return 400, {"code": 3, "message": "Invalid pagination token"}
            after = self.tokens[token]
            if self.kind == "busy":
                del self.tokens[token]
        ids = sorted((i for i in rows if i.startswith(prefix) and i.encode() > after), key=str.encode)
        page, behind = ids[:limit], ids[limit:]
        said = {"vectors": [{"id": i} for i in page], "namespace": query.get("namespace", [""])[0], "usage": {"readUnits": 1}}
        if self.kind == "mixed":
            said["vectors"].reverse()
        if behind:
            token = hashlib.md5(page[-1].encode()).hexdigest() + "=="
            self.tokens[token] = page[-1].encode()
            said["pagination"] = {"next": token}
            if self.kind == "hybrid" and len(page) == limit and ids[0] == self.first(rows):
                # A page may be empty, and others follow.
                self.tokens["again="] = b""
                if not token_was_empty(query):
                    said["vectors"], said["pagination"] = [], {"next": "again="}
        return 200, said

    def first(self, rows):
        return min(rows, key=str.encode)


def token_was_empty(query):
    return query.get("paginationToken", [None])[0] == "again="


def serve(kind, key=None):
    index = Index(kind, key)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_POST(self):
            self.rfile.read(int(self.headers.get("content-length") or 0))
            assert self.headers.get("x-pinecone-api-version"), "no version of the API"
            path, _, query = self.path.partition("?")
            query = urllib.parse.parse_qs(query, keep_blank_values=True)
            status, said = index.answer(self.command, path, query, self.headers.get("api-key"))
            body = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(f"PORT={server.server_address[1]}", flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


def parquet(kind, directory):
    import pyarrow as pa, pyarrow.parquet as pq
    sparse = pa.struct([("indices", pa.list_(pa.uint32())), ("values", pa.list_(pa.float32()))])
    for name, rows in index(kind).items():
        folder = os.path.join(directory, name or "__default__")
        os.makedirs(folder)
        ids = list(rows)
        for number, at in enumerate(range(0, len(ids), 1000)):
            some = [rows[i] for i in ids[at:at + 1000]]
            columns = {"id": pa.array(ids[at:at + 1000], pa.string()),
                       "values": pa.array([v["values"] for v in some], pa.list_(pa.float32())),
                       "metadata": pa.array([json.dumps(v["metadata"]) if "metadata" in v else None for v in some], pa.string())}
            if kind == "hybrid":
                columns["sparse_values"] = pa.array([v.get("sparseValues") for v in some], sparse)
            # What exporters add, once or more.
            arrays = list(columns.values()) + [pa.array(["x"] * len(some))] * 2
            table = pa.table(arrays, names=list(columns) + ["__filename", "__filename"])
            pq.write_table(table, os.path.join(folder, f"{number}.parquet"))


verb, *rest = sys.argv[1:]
if verb == "serve":
    serve(*rest)
elif verb == "rows":
    print(json.dumps(arriving(*rest)))
else:
    parquet(*rest)
