"""A stand-in for Qdrant: its gRPC calls that read, written from its messages, over points in memory.

    fake_qdrant.py serve [KEY]      prints PORT=…, serves until its standard input ends; KEY: an API key it asks for
    fake_qdrant.py points NAME      JSON: {key: {column: value}} as the points of a collection should arrive

It is no Qdrant: tests/support/qdrant_engine.py compares ids, their order, offsets and values with the engine itself.
Messages are encoded by hand, so that nothing is shared with the program under test.
"""
import concurrent.futures, json, math, random, struct, sys, threading, uuid


# ---- messages ------------------------------------------------------------------------------------------------
def varint(n):
    n &= (1 << 64) - 1
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def num(field, n):
    return varint(field << 3) + varint(n)


def ld(field, body):
    body = body.encode() if isinstance(body, str) else bytes(body)
    return varint(field << 3 | 2) + varint(len(body)) + body


def fields(body):
    at, out = 0, []

    def take():
        nonlocal at
        n = shift = 0
        while True:
            byte = body[at]
            at += 1
            n |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return n

    while at < len(body):
        tag = take()
        if tag & 7 == 0:
            out.append((tag >> 3, take()))
        else:
            assert tag & 7 == 2, tag
            size = take()
            out.append((tag >> 3, body[at:at + size]))
            at += size
    return out


def first(body, field, otherwise=None):
    return next((v for f, v in fields(body) if f == field), otherwise)


def point_id(i):
    return num(1, i) if isinstance(i, int) else ld(2, str(i))


def order(i):
    return (0, i) if isinstance(i, int) else (1, i.int)


def value(v):
    if v is None:
        return num(1, 0)
    if isinstance(v, bool):
        return num(5, v)
    if isinstance(v, float):
        return varint(2 << 3 | 1) + struct.pack("<d", v)
    if isinstance(v, int):
        return num(3, v)
    if isinstance(v, str):
        return ld(4, v)
    if isinstance(v, dict):
        return ld(6, b"".join(ld(1, ld(1, k) + ld(2, value(x))) for k, x in v.items()))
    return ld(7, b"".join(ld(1, value(x)) for x in v))


def floats(v):
    return struct.pack(f"<{len(v)}f", *v)


def vector(v, old):
    """As servers of today say it; `old`: as those before 1.14 did."""
    if isinstance(v, dict):
        indices = b"".join(varint(i) for i in v)
        if old:
            return ld(1, floats(v.values())) + ld(2, ld(1, indices))
        return ld(102, ld(1, floats(v.values())) + ld(2, indices))
    if v and isinstance(v[0], list):
        if old:
            return ld(1, floats(sum(v, []))) + num(3, len(v))
        return ld(103, b"".join(ld(1, ld(1, floats(row))) for row in v))
    return ld(1, floats(v)) if old else ld(101, ld(1, floats(v)))


# ---- collections ---------------------------------------------------------------------------------------------
def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def dense(rng, d, unit=False):
    v = [rng.uniform(-1, 1) for _ in range(d)]
    length = math.sqrt(sum(x * x for x in v)) if unit else 1.0
    return [f32(x / length) for x in v]


COSINE, EUCLID, DOT = 1, 2, 3


class Collection:
    def __init__(self, vectors, sparse=(), shards=1, keys=None, old=False):
        self.vectors, self.sparse, self.shards, self.keys, self.old = vectors, sparse, shards, keys, old
        self.points = {}

    def add(self, i, vectors, payload=None, key=None):
        self.points[i] = (vectors, payload or {}, key)

    def info(self):
        def params(v):
            size, distance, multi = v
            return num(1, size) + num(2, distance) + (ld(7, num(1, 0)) if multi else b"")
        if "" in self.vectors:
            config = ld(1, params(self.vectors[""]))
        else:
            config = ld(2, b"".join(ld(1, ld(1, n) + ld(2, params(v))) for n, v in self.vectors.items()))
        body = num(3, self.shards) + ld(5, config)
        if self.keys:
            body += num(9, 1)
        if self.sparse:
            body += ld(10, b"".join(ld(1, ld(1, n) + ld(2, b"")) for n in self.sparse))
        return ld(7, ld(1, body) + ld(2, num(1, 16) + num(2, 100)))

    def selected(self, selector):
        """Points in the order of their ids, those with a shard key."""
        wanted = None
        if selector:
            key = first(first(selector, 1), 1)
            wanted = key.decode()
        points = [(i, p) for i, p in list(self.points.items()) if wanted is None or p[2] == wanted]
        return sorted(points, key=lambda p: order(p[0]))


def collections():
    rng = random.Random(7)
    all = {}
    plain = all["plain"] = Collection({"": (8, EUCLID, False)})
    for i in list(range(1000)) + [2**62, 2**63 - 2]:
        plain.add(i, {"": dense(rng, 8)}, {
            "n": i % 7 - 3, "whole": float(i % 5), "x": i / 3, "text": f"row {i} \"ü\"\n", "yes": i % 2 == 0,
            "none": None, "deep": {"b": [1, 2.5, None, {"c": "d"}], "a": {}}, "big": 2**63 - 1 - i % 3,
        } if i % 10 else {})
    mixed = all["mixed"] = Collection(
        {"a": (4, COSINE, False), "tokens": (3, COSINE, True)}, sparse=["words"], old=True)
    now = all["now"] = Collection({"a": (4, DOT, False), "tokens": (3, DOT, True)}, sparse=["words"])
    ids = [0, 7, 9, 10, 99, 100, 12345, 2**63 - 1, 2**63, 2**64 - 1, uuid.UUID(int=0), uuid.UUID(int=2**128 - 1)]
    ids += list(range(200, 500)) + [uuid.UUID(int=rng.getrandbits(128)) for _ in range(400)]
    for n, i in enumerate(ids):
        for collection in (mixed, now):
            vectors = {}
            if n % 4:
                vectors["a"] = dense(rng, 4, unit=True)
            if n % 3:
                vectors["words"] = {k: f32(rng.random() + 0.1) for k in sorted(rng.sample(range(2**32 - 1), 5))}
            if n % 5:
                vectors["tokens"] = [dense(rng, 3, unit=True) for _ in range(n % 3 + 1)]
            collection.add(i, vectors, {"n": n})
    full = all["full"] = Collection({"a": (4, COSINE, False)}, sparse=["words"])
    for i in range(500):
        words = {k: f32(rng.random() + 0.1) for k in sorted(rng.sample(range(1000), 5))}
        full.add(uuid.UUID(int=rng.getrandbits(128)), {"a": dense(rng, 4, unit=True), "words": words}, {"title": f"t{i}"})
    wide = all["wide"] = Collection({"": (256, EUCLID, False)})
    for i in range(4000):
        wide.add(i * 3, {"": dense(rng, 256)}, {"text": chr(97 + i % 26) * 2000})
    all["empty"] = Collection({"": (8, EUCLID, False)})
    many = all["many"] = Collection({"": (8, EUCLID, False)}, shards=4)
    for i in range(700):
        many.add(i, {"": dense(rng, 8)}, {"n": i})
    parts = all["parts"] = Collection({"": (8, EUCLID, False)}, keys=["de", "fr"])
    for i in range(300):
        parts.add(i, {"": dense(rng, 8)}, {"n": i}, key=["de", "fr"][i % 2])
    still = all["still"] = Collection({"": (8, EUCLID, False)})
    for i in list(range(25)) + [uuid.UUID(int=rng.getrandbits(128)) for _ in range(15)]:
        still.add(i, {"": dense(rng, 8)}, {"n": str(i)})
    moving = all["moving"] = Collection({"": (8, EUCLID, False)})
    for i in range(6000):
        moving.add(i, {"": dense(rng, 8)}, {"n": i})
    return all


def arriving(name):
    """What of each point should arrive."""
    rows = {}
    collection = collections()[name]
    for i, (vectors, payload, key) in collection.points.items():
        row = {"payload": payload}
        for vector_name in list(collection.vectors) + list(collection.sparse):
            v = vectors.get(vector_name)
            row[vector_name or "vector"] = list(map(list, v.items())) if isinstance(v, dict) else v
        rows[str(i)] = row
    return rows


# ---- the server ----------------------------------------------------------------------------------------------
class Wrong(Exception):
    def __init__(self, code, words):
        self.code, self.words = code, words


class Server:
    def __init__(self, key):
        self.all, self.key, self.lock, self.rng = collections(), key, threading.Lock(), random.Random(3)

    def found(self, body):
        name = (first(body, 1) or b"").decode()
        if name not in self.all:
            raise Wrong("NOT_FOUND", f"Not found: Collection `{name}` doesn't exist!")
        return name, self.all[name]

    def record(self, i, point, collection, payload, vectors, gone=()):
        out = ld(1, point_id(i))
        if payload:
            out += b"".join(ld(2, ld(1, k) + ld(2, value(v))) for k, v in point[1].items())
        if vectors:
            named = {n: vector(v, collection.old) for n, v in point[0].items()}
            if list(named) == [""]:
                out += ld(4, ld(1, named[""]))
            else:
                out += ld(4, ld(2, b"".join(ld(1, ld(1, n) + ld(2, v)) for n, v in named.items())))
        return out

    def move(self, collection):
        """Others write: points divisible by three are never touched."""
        for _ in range(20):
            i = self.rng.randrange(9000)
            if i % 3:
                if collection.points.pop(i, None) is None:
                    collection.add(i, {"": dense(self.rng, 8)}, {"n": i})

    def call(self, method, body):
        with self.lock:
            if method == "Qdrant/HealthCheck":
                return ld(1, "qdrant - vector search engine") + ld(2, "1.19.0")
            if method == "Collections/List":
                return b"".join(ld(1, ld(1, name)) for name in self.all)
            if method == "Collections/ListAliases":
                return ld(1, ld(1, "today") + ld(2, "full"))
            name, collection = self.found(body)
            if method == "Collections/Get":
                return ld(1, collection.info())
            if method == "Collections/ListShardKeys":
                return b"".join(ld(1, ld(1, ld(1, key))) for key in collection.keys or [])
            if method == "Points/Count":
                points = collection.selected(first(body, 5))
                filter = first(body, 2)
                if filter is not None:
                    if collection.old:
                        raise Wrong("INVALID_ARGUMENT", "Malformed condition")
                    vector_name = (first(first(first(filter, 3), 7), 1) or b"").decode()
                    points = [p for p in points if vector_name not in p[1][0]]
                return ld(1, num(1, len(points)))
            if method == "Points/Scroll":
                return self.scroll(name, collection, body)
            if method == "Points/Get":
                payload, vectors = first(first(body, 4), 1), first(first(body, 5), 1)
                out = b""
                for field, wanted in fields(body):
                    if field == 2 and (i := read_id(wanted)) in collection.points and i != 7:
                        out += ld(1, self.record(i, collection.points[i], collection, payload, vectors))
                return out
            raise Wrong("UNIMPLEMENTED", method)

    def scroll(self, name, collection, body):
        limit = first(body, 4, 10)
        assert limit > 0
        payload, vectors = first(first(body, 6, b""), 1, 1), first(first(body, 7, b""), 1, 0)
        if name == "moving" and vectors:
            self.move(collection)
        start = order(read_id(first(body, 3)))
        points = [p for p in collection.selected(first(body, 9)) if order(p[0]) >= start]
        page, behind = points[:limit], points[limit:]
        out = ld(1, point_id(behind[0][0])) if behind else b""
        for i, point in page:
            out += ld(2, self.record(i, point, collection, payload, vectors))
        return out


def read_id(body):
    (field, found), = fields(body)
    return found if field == 1 else uuid.UUID(found.decode())


def serve(key=None, only=None):
    import grpc

    server = Server(key)
    if only:
        server.all = {only: server.all[only]}

    class Handler(grpc.GenericRpcHandler):
        def service(self, details):
            method = details.method.removeprefix("/qdrant.")
            keys = [v for k, v in details.invocation_metadata if k == "api-key"]

            def answer(body, context):
                if server.key and method != "Qdrant/HealthCheck" and keys != [server.key]:
                    context.abort(grpc.StatusCode.UNAUTHENTICATED, "Must provide an API key or an Authorization bearer token")
                try:
                    return server.call(method, body)
                except Wrong as wrong:
                    context.abort(getattr(grpc.StatusCode, wrong.code), wrong.words)

            return grpc.unary_unary_rpc_method_handler(answer)

    pool = concurrent.futures.ThreadPoolExecutor(8)
    options = [("grpc.max_send_message_length", -1), ("grpc.http2.max_ping_strikes", 0)]
    served = grpc.server(pool, handlers=[Handler()], options=options)
    print(f"PORT={served.add_insecure_port('127.0.0.1:0')}", flush=True)
    served.start()
    sys.stdin.read()
    served.stop(0)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(*sys.argv[2:])
    else:
        print(json.dumps(arriving(sys.argv[2])))
