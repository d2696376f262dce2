"""Chroma for tests: a real server, what it holds, and what stands between it and us when things go wrong.

    chroma.py serve DIR                 prints PORT=…, serves the directory until its standard input ends
    chroma.py make ADDRESS              makes collections
    chroma.py keep ADDRESS              makes one whose rows lie in an index and in the log of writes
    chroma.py small DIR ROWS DIMENSION  a directory without a server: the collection `still`
    chroma.py dump ADDRESS NAME         JSON: {id: {"embedding": […], "payload": {…}}} as rows should arrive
    chroma.py write ADDRESS NAME        adds and deletes rows, until it is killed
    chroma.py front ADDRESS [--v1] [--token T] [--mix] [--fail N] [--die N]
                                        prints PORT=…, hands requests on: as a server of 0.4 would take them (--v1; with
                                        vectors in another order than ids: --mix), to those who have a token, with an
                                        error every N pages, or until N pages were read
"""
import http.server, json, os, random, re, socket, subprocess, sys, threading, time, urllib.error, urllib.request

BASE = "/api/v2/tenants/default_tenant/databases/default_database/collections"


def call(address, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address + path, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def serve(directory):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    chroma = os.path.join(os.path.dirname(sys.executable), "chroma")
    server = subprocess.Popen([chroma, "run", "--path", directory, "--host", "127.0.0.1", "--port", str(port)],
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(600):
        try:
            call(f"http://127.0.0.1:{port}", "/api/v2/heartbeat")
            break
        except OSError:
            assert server.poll() is None, "the server ended"
            time.sleep(0.1)
    print(f"PORT={port}", flush=True)
    sys.stdin.read()
    server.kill()
    server.wait()


def client(address):
    import chromadb
    host, port = address.split("//")[1].split(":")
    return chromadb.HttpClient(host=host, port=int(port))


def vector(rng, dimension):
    return [rng.uniform(-1, 1) for _ in range(dimension)]


def fill(collection, ids, dimension, seed, metadata=None, document=None, uri=None):
    rng = random.Random(seed)
    for at in range(0, len(ids), 2000):
        some = ids[at:at + 2000]
        more = {}
        if metadata:
            more["metadatas"] = [metadata(at + n) for n in range(len(some))]
        if document:
            more["documents"] = [document(at + n) for n in range(len(some))]
        if uri:
            more["uris"] = [uri(at + n) for n in range(len(some))]
        collection.add(ids=some, embeddings=[vector(rng, dimension) for _ in some], **more)


NASTY = ["a b", "ü/\"quoted\"\\", "tab\tnew\nline", "%2F?&=#", "0", "00000000000000000001 [\"x\"]", "\u202e", "x" * 500, "{}", "'"]


def metadata(n):
    if n % 7 == 0:
        return None
    found = {"n": n, "whole": float(n % 5), "x": n / 3, "yes": n % 2 == 0, "text": f"row {n} \"ü\"\n", "big": 2**62 + n,
             "tags": [f"t{n % 3}", "ü"], "numbers": [n, -n], "parts": [n / 4, 0.5], "flags": [True, n % 2 == 0]}
    return {key: found[key] for number, key in enumerate(found) if (n + number) % 3}


def every(collection, count, dimension):
    ids = NASTY + [f"id-{n:05}" for n in range(count)]
    fill(collection, ids, dimension, 5, metadata, lambda n: None if n % 5 == 0 else f"text {n} " * (n % 9),
         lambda n: f"file:///{n}" if n % 11 == 0 else None)
    collection.delete(ids=ids[100:140])
    collection.upsert(ids=ids[200:210], embeddings=[vector(random.Random(n), dimension) for n in range(10)],
                      documents=["written again"] * 10)
    collection.update(ids=ids[300:305], metadatas=[{"updated": n} for n in range(5)])
    collection.add(ids=[ids[400]], embeddings=[[9.0] * dimension])


def make(address):
    c = client(address)
    make = lambda name, space="l2": c.create_collection(name, configuration={"hnsw": {"space": space}}, embedding_function=None)
    every(make("every"), 2600, 8)
    every(make("cosine", "cosine"), 500, 3)
    every(make("inner.product-1", "ip"), 500, 4)
    emptied = make("emptied")
    fill(emptied, ["a", "b"], 4, 1)
    emptied.delete(ids=["a", "b"])
    make("never")
    fill(make("many"), [f"m{n}" for n in range(33_000)], 2, 7)
    fill(make("named"), ["a"], 2, 1, lambda n: {"document": "x"}, lambda n: "y")
    fill(make("moving"), [f"{'move' if n % 10 == 3 else 'keep'}-{n:05}" for n in range(12_000)], 16, 9, lambda n: {"n": n})


def keep(address):
    c = client(address)
    for name, space in [("kept", "l2"), ("unit", "cosine")]:
        collection = c.create_collection(name, configuration={"hnsw": {"space": space}}, embedding_function=None)
        every(collection, 2600, 8)
        # Behind what the index takes over: writes of all kinds, of rows that it has and of others.
        collection.delete(ids=[f"id-{n:05}" for n in range(1000, 1010)])
        collection.add(ids=[f"id-{n:05}" for n in range(1005, 1015)], embeddings=[[0.1 * n] * 8 for n in range(10)])
        collection.upsert(ids=["id-01500", "new"], embeddings=[[0.3] * 8, [0.7] * 8], metadatas=[{"again": True}] * 2)
        collection.update(ids=["id-01600"], embeddings=[[0.9] * 8])
        collection.update(ids=["id-01700"], metadatas=[{"only": "metadata"}])
    fill(c.create_collection("short", embedding_function=None), [f"s{n}" for n in range(20)], 4, 3, metadata)
    c.create_collection("never", embedding_function=None)


def small(directory, rows, dimension):
    import chromadb
    c = chromadb.PersistentClient(path=directory)
    still = c.create_collection("still", configuration={"hnsw": {"space": "l2", "sync_threshold": 10, "batch_size": 5}},
                                embedding_function=None)
    for n in range(rows):
        still.add(ids=[f"row {n}"], embeddings=[[n + k / 8 for k in range(dimension)]], metadatas=[{"n": n}])


def dump(address, name):
    collection = call(address, f"{BASE}/{name}")["id"]
    rows, at = {}, 0
    while True:
        page = call(address, f"{BASE}/{collection}/get", {"offset": at, "limit": 3000,
                    "include": ["embeddings", "documents", "metadatas", "uris"]})
        if not page["ids"]:
            break
        at += len(page["ids"])
        for i, v, d, m, u in zip(page["ids"], page["embeddings"], page["documents"], page["metadatas"], page["uris"]):
            assert i not in rows, i
            payload = dict(m or {})
            if d is not None:
                payload["document"] = d
            if u is not None:
                payload["uri"] = u
            rows[i] = {"embedding": [f32(x) for x in v], "payload": payload}
    print(json.dumps(rows))


def f32(x):
    import struct
    return struct.unpack("<f", struct.pack("<f", x))[0]


def write(address, name):
    collection = client(address).get_collection(name, embedding_function=None)
    rng, new = random.Random(4), 0
    print("writing", flush=True)
    while True:
        collection.delete(ids=[f"move-{rng.randrange(1200) * 10 + 3:05}" for _ in range(3)])
        collection.add(ids=[f"new-{new + n:05}" for n in range(5)], embeddings=[vector(rng, 16) for _ in range(5)])
        new += 5
        time.sleep(0.02)


def front(address, arguments):
    v1, mix = "--v1" in arguments, "--mix" in arguments
    after = lambda name: arguments[arguments.index(name) + 1] if name in arguments else None
    token, fail, die = after("--token"), after("--fail"), after("--die")
    pages, lock = [0], threading.Lock()

    class Front(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def answer(self, status, body):
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("content-length") or 0)) or None
            path, _, query = self.path.partition("?")
            if token and "heartbeat" not in path and token not in (
                    self.headers.get("x-chroma-token"), (self.headers.get("authorization") or "").removeprefix("Bearer ")):
                return self.answer(401, b'{"error":"AuthError","message":"Unauthorized"}')
            if v1:
                if not path.startswith("/api/v1/"):
                    return self.answer(404, b'{"detail":"Not Found"}')
                if path == "/api/v1/heartbeat":
                    path = "/api/v2/heartbeat"
                else:
                    said = dict(part.split("=") for part in query.split("&"))
                    path = path.replace("/api/v1", f"/api/v2/tenants/{said.pop('tenant')}/databases/{said.pop('database')}")
                    query = "&".join(f"{k}={v}" for k, v in said.items())
            if path.endswith("/get"):
                with lock:
                    pages[0] += 1
                    number = pages[0]
                if die and number > int(die):
                    os._exit(0)
                if fail and number % int(fail) == 0:
                    return self.answer(500, b'{"error":"InternalError","message":"an internal error occurred"}')
            request = urllib.request.Request(address + path + ("?" + query if query else ""), body,
                                             {"content-type": "application/json"})
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    status, said = answer.status, answer.read()
            except urllib.error.HTTPError as error:
                return self.answer(error.code, error.read())
            if v1 and re.search("/collections(/[^/]*)?$", path):
                # 0.4 does not tell dimensions, and keeps the space among metadata.
                found = json.loads(said)
                for collection in found if isinstance(found, list) else [found]:
                    space = collection["configuration_json"]["hnsw"]["space"]
                    for key in ["dimension", "schema", "configuration_json"]:
                        del collection[key]
                    collection["metadata"] = {"hnsw:space": space}
                said = json.dumps(found).encode()
            if mix and path.endswith("/get"):
                found = json.loads(said)
                if found["embeddings"]:
                    found["embeddings"].reverse()
                said = json.dumps(found).encode()
            self.answer(status, said)

        do_GET = do_POST

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Front)
    server.daemon_threads = True
    print(f"PORT={server.server_address[1]}", flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


verb, *rest = sys.argv[1:]
if verb == "small":
    small(rest[0], int(rest[1]), int(rest[2]))
elif verb == "front":
    front(rest[0], rest[1:])
else:
    {"serve": serve, "make": make, "keep": keep, "dump": dump, "write": write}[verb](*rest)
