#!/usr/bin/env python3
"""A stand-in for a Milvus 1.x server, for tests: no real one can be had any more.

    server.py [--version 1.1.1] [--auto-flush SECONDS] [--delete-state SECONDS] [--slow-insert SECONDS]

It speaks through the messages of the real 1.x client (pymilvus 1.1.2 brings their descriptors), so that it is
independent of the messages we wrote by hand. Each rule below cites the part of Milvus it was taken from; the
sources are those of 1.1.1 where nothing else is said (formats/milvus-1x.md has the survey).

Started, it prints `PORT n`. It is driven by lines of JSON on standard input, each answered by one line:
    {"do": "fault", "call": "Insert", "nth": 2, "how": "lose"}   how: see FAULTS; nth counts from now on
    {"do": "rows", "collection": "c"}         what was stored: {tag: [[id, hex], ...]}, unflushed rows too
    {"do": "calls"}                           [[method, bytes of the request], ...]
    {"do": "requests", "call": "Insert"}      the raw requests, in hex
It ends when standard input does.
"""
import argparse, itertools, json, re, socket, sys, threading, time
from concurrent import futures

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from milvus.grpc_gen import milvus_pb2, status_pb2

# status.proto, ErrorCode.
OK, UNEXPECTED, NOT_EXISTS, ILLEGAL_ARGUMENT = 0, 1, 4, 5
ILLEGAL_DIMENSION, ILLEGAL_INDEX_TYPE, ILLEGAL_NAME = 7, 8, 9
ILLEGAL_ROWRECORD, ILLEGAL_ID, ILLEGAL_NLIST, ILLEGAL_METRIC = 11, 12, 22, 23
DEFAULT = "_default"  # db/Constants.h DEFAULT_PARTITON_TAG
FLOAT_METRICS, BINARY_METRICS = (1, 2), (3, 4, 5, 6, 7)  # db/Utils.cpp IsBinaryMetricType
NO_USERID, HAS_USERID = 1, 2  # meta/MetaTypes.h FLAG_MASK_*

# What can go wrong on demand.
FAULTS = {
    "lose": "does it, then breaks all connections before the answer is out",
    "drop": "breaks all connections and does nothing",
    "refuse": "does nothing and answers UNEXPECTED_ERROR",
    "unavailable": "does it, then answers with gRPC status UNAVAILABLE, as a proxy does",
    "busy": "does nothing and answers OUT_OF_MEMORY",
    "late": "breaks all connections now and does it 0.3 s later, as a queue that was full",
}


def twin():
    """The client's own descriptors with one change: RowRecord.float_data is `bytes`. On the wire the two are the
    same (packed floats), and bytes keep every bit pattern, which Python's floats do not."""
    pool = descriptor_pool.DescriptorPool()
    for source in (status_pb2, milvus_pb2):
        file = descriptor_pb2.FileDescriptorProto()
        source.DESCRIPTOR.CopyToProto(file)
        for message in file.message_type:
            if message.name == "RowRecord":
                field = next(f for f in message.field if f.name == "float_data")
                field.type, field.label = field.TYPE_BYTES, field.LABEL_OPTIONAL
                field.ClearField("options")
        pool.Add(file)
    factory = message_factory.MessageFactory(pool)
    names = milvus_pb2.DESCRIPTOR.message_types_by_name
    return {n: factory.GetPrototype(pool.FindMessageTypeByName("milvus.grpc." + n)) for n in names}


M = twin()
Status = type(M["VectorIds"]().status)


class Refused(Exception):
    """An answer with an error code; gRPC itself is always OK (grpc_impl/GrpcRequestHandler.cpp SET_RESPONSE)."""

    def __init__(self, code, reason):
        self.code, self.reason = code, reason


# meta/MetaTypes.h: segments are named by SafeIDGenerator, which makes ids of the time.
SEGMENTS = itertools.count(1600000000000000000)


class Collection:
    def __init__(self, schema):
        self.name, self.dimension = schema.collection_name, schema.dimension
        self.file_size, self.metric = schema.index_file_size, schema.metric_type
        self.flag = 0
        self.index = (1, "{}")
        self.partitions = {"": []}  # tag: [(id, bytes)], flushed; "" is the collection itself
        self.segments = {}  # tag: the number of its one segment, if it has rows
        self.log = []  # the write-ahead log: ("insert", tag, ids, rows) or ("delete", tag, ids)
        self.logged_at = 0.0

    def append(self, record):
        if not self.log:
            self.logged_at = time.monotonic()
        self.log.append(record)

    def flush(self):
        """Records take effect in their order (wal/WalManager.cpp, db/DBImpl.cpp ExecWalRecord)."""
        for record in self.log:
            if record[0] == "insert":
                rows = self.partitions.get(record[1])
                if rows is not None:  # GetNextRecord skips records of unknown partitions
                    rows.extend(zip(record[2], record[3]))
            else:
                gone = set(record[2])
                for tag, rows in self.partitions.items():
                    if record[1] in (None, tag):
                        rows[:] = [r for r in rows if r[0] not in gone]
        for tag, rows in self.partitions.items():
            if rows and tag not in self.segments:
                self.segments[tag] = next(SEGMENTS)
        self.log.clear()

    def count(self):
        return sum(len(rows) for rows in self.partitions.values())


class Server:
    def __init__(self, options, proxy):
        self.options, self.proxy = options, proxy
        self.version = tuple(int(n) for n in options.version.split(".")[:3])
        self.collections, self.deleted = {}, {}
        self.next_id = 1600000000000000000
        self.calls, self.faults = [], []
        # BaseRequest.cpp: Insert, Flush, Delete, Create and Drop share the group "ddl_dml", which one thread
        # takes requests from in order (RequestScheduler.cpp). The rest may run beside it.
        self.queue, self.lock = threading.Lock(), threading.RLock()

    # -- helpers

    def collection(self, name):
        """utils/ValidationUtil.cpp ValidateCollectionName, then DescribeCollection."""
        self.check_name(name)
        found = self.collections.get(name)
        if found is None:
            raise Refused(NOT_EXISTS, "Collection %s does not exist. Use milvus.has_collection to verify whether "
                          "the collection exists. You also can check whether the collection name exists." % name)
        if self.options.auto_flush and found.log and time.monotonic() - found.logged_at > self.options.auto_flush:
            found.flush()  # storage.auto_flush_interval, 1 s
        return found

    def check_name(self, name):
        if not name:
            raise Refused(ILLEGAL_NAME, "Collection name should not be empty.")
        if len(name) > 255:
            raise Refused(ILLEGAL_NAME, "Invalid collection name: %s. The length of a collection name must be less "
                          "than 255 characters." % name)
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise Refused(ILLEGAL_NAME, "Invalid collection name: %s. The first character of a collection name must "
                          "be an underscore or letter, and it can only contain numbers, letters, and underscores."
                          % name)

    def check_tag(self, tag):
        """ValidatePartitionTags: SERVER_INVALID_PARTITION_TAG is not in the error map, so UNEXPECTED_ERROR."""
        if not tag.strip():
            raise Refused(UNEXPECTED, "Invalid partition tag: %s. Partition tag should not be empty." % tag)
        if len(tag) > 255:
            raise Refused(UNEXPECTED, "Invalid partition tag: %s. The length of a partition tag must be less than "
                          "255 characters." % tag)

    def scope(self, tag):
        """Which partitions a delete or look-up reaches: with a tag, from 1.1 on, that one; else all."""
        return tag.strip() if tag and self.version >= (1, 1) else None

    # -- collections

    def CreateCollection(self, q, a):
        self.check_name(q.collection_name)  # CreateCollectionRequest.cpp
        if not 1 <= q.dimension <= 32768:
            raise Refused(ILLEGAL_DIMENSION, "Invalid collection dimension: %d. The collection dimension must be "
                          "within the range of 1 ~ 32768." % q.dimension)
        if q.metric_type in BINARY_METRICS and q.dimension % 8:
            raise Refused(ILLEGAL_DIMENSION, "Invalid collection dimension: %d. The collection dimension must be a "
                          "multiple of 8." % q.dimension)
        most = 131072 if self.version >= (1, 1, 1) else 4096
        if not 1 <= q.index_file_size <= most:
            raise Refused(ILLEGAL_ARGUMENT, "Invalid collection index file size: %d. The index file size must be "
                          "within the range of 1 ~ %d." % (q.index_file_size, most))
        if q.metric_type not in FLOAT_METRICS + BINARY_METRICS:
            raise Refused(ILLEGAL_METRIC, "Invalid collection metric type: %d. Make sure the metric type is either "
                          "L2, IP, HAMMING, JACCARD, TANIMOTO, SUBSTRUCTURE, or SUPERSTRUCTURE." % q.metric_type)
        gone = self.deleted.get(q.collection_name)
        if gone is not None and time.monotonic() < gone:
            # SqliteMetaImpl.cpp CreateCollection: DB_ERROR, which is not in the error map.
            raise Refused(UNEXPECTED, "Collection already exists and it is in delete state, please wait a second")
        if q.collection_name in self.collections:
            raise Refused(ILLEGAL_NAME, "Collection already exists and should not create repeatedly")
        self.collections[q.collection_name] = Collection(q)

    def HasCollection(self, q, a):
        self.check_name(q.collection_name)
        a.bool_reply = q.collection_name in self.collections

    def DescribeCollection(self, q, a):
        c = self.collection(q.collection_name)
        a.collection_name, a.dimension = c.name, c.dimension
        a.index_file_size, a.metric_type = c.file_size, c.metric

    def CountCollection(self, q, a):
        a.collection_row_count = self.collection(q.collection_name).count()

    def ShowCollections(self, q, a):
        a.collection_names.extend(self.collections)

    def ShowCollectionInfo(self, q, a):
        """DBImpl.cpp GetCollectionInfo: the collection itself comes first, as `_default`."""
        c = self.collection(q.collection_name)
        width = c.dimension * 4 if c.metric in FLOAT_METRICS else c.dimension // 8
        parts = []
        for tag, rows in c.partitions.items():
            size = len(rows) * (width + 8)
            segment = {"name": str(c.segments.get(tag)), "row_count": len(rows), "index_name": "IDMAP", "data_size": size}
            parts.append({"tag": tag or DEFAULT, "row_count": len(rows), "data_size": size,
                          "segments": [segment] if rows else None})
        total = sum(p["data_size"] for p in parts)
        a.json_info = json.dumps({"row_count": c.count(), "data_size": total, "partitions": parts})

    def DropCollection(self, q, a):
        self.collection(q.collection_name)
        del self.collections[q.collection_name]
        # The name stays taken until the rows of the metadata are cleaned up.
        self.deleted[q.collection_name] = time.monotonic() + self.options.delete_state

    def CreateIndex(self, q, a):
        c = self.collection(q.collection_name)
        params = next((p.value for p in q.extra_params if p.key == "params"), None)
        if params is None:
            raise Refused(ILLEGAL_ARGUMENT, "Parameter: params should not be empty")
        self.check_index(c, q.index_type, json.loads(params))
        c.flush()  # CreateIndexRequest flushes before it builds
        c.index = (q.index_type, params)

    def check_index(self, c, kind, params):
        """ValidationUtil.cpp ValidateCollectionIndexType, ValidateIndexParams; CreateIndexRequest.cpp."""
        ranges = {1: {}, 2: {"nlist": (1, 65536)}, 3: {"nlist": (1, 65536)}, 6: {"nlist": (1, 65536), "m": (1, 32768)},
                  4: {"search_length": (10, 300), "out_degree": (5, 300), "candidate_pool_size": (50, 1000),
                      "knng": (5, 300)}, 11: {"M": (4, 64), "efConstruction": (8, 512)}, 12: {"n_trees": (1, 1024)}}
        if kind not in ranges or c.metric in BINARY_METRICS and kind not in (1, 2):
            raise Refused(ILLEGAL_INDEX_TYPE, "Invalid index type: %d. Make sure the index type is in IndexType list."
                          % kind)
        if c.metric in (6, 7) and kind != 1:
            raise Refused(ILLEGAL_INDEX_TYPE, "Index type not available for current metric type")
        for name, (low, high) in ranges[kind].items():
            value = params.get(name)
            if not isinstance(value, int) or not low <= value <= high:
                raise Refused(ILLEGAL_ARGUMENT, "Invalid %s value: %s, valid range [%d, %d]" % (name, value, low, high))

    def DescribeIndex(self, q, a):
        c = self.collection(q.collection_name)
        a.collection_name, a.index_type = c.name, c.index[0]
        a.extra_params.add(key="params", value=c.index[1])

    def DropIndex(self, q, a):
        self.collection(q.collection_name).index = (1, "{}")

    # -- partitions

    def CreatePartition(self, q, a):
        c = self.collection(q.collection_name)
        self.check_tag(q.tag)
        tag = q.tag.strip()
        if tag == DEFAULT:
            raise Refused(UNEXPECTED, "Invalid partition tag: %s. `_default` is reserved" % tag)
        if tag in c.partitions:
            raise Refused(UNEXPECTED, "Duplicate partition is not allowed")
        if len(c.partitions) > 4096:
            raise Refused(UNEXPECTED, "The number of partitions exceeds the upper limit(4096)")
        c.partitions[tag] = []

    def HasPartition(self, q, a):
        c = self.collection(q.collection_name)
        self.check_tag(q.tag)
        tag = q.tag.strip()
        a.bool_reply = tag == DEFAULT or tag in c.partitions

    def ShowPartitions(self, q, a):
        c = self.collection(q.collection_name)
        a.partition_tag_array.extend([DEFAULT] + [t for t in c.partitions if t])

    def DropPartition(self, q, a):
        c = self.collection(q.collection_name)
        self.check_tag(q.tag)
        tag = q.tag.strip()
        if tag == DEFAULT:
            raise Refused(UNEXPECTED, "Default partition cannot be dropped.")
        if tag not in c.partitions:
            raise Refused(UNEXPECTED, "Partition %s not found" % tag)
        del c.partitions[tag]
        c.segments.pop(tag, None)

    # -- rows

    def Insert(self, q, a):
        """InsertRequest.cpp, in its order."""
        time.sleep(self.options.slow_insert)
        self.check_name(q.collection_name)
        if not q.row_record_array:
            raise Refused(ILLEGAL_ROWRECORD, "The vector array is empty. Make sure you have entered vector records.")
        if q.row_id_array and len(q.row_id_array) != len(q.row_record_array):
            raise Refused(ILLEGAL_ID, "The size of vector ID array must be equal to the size of the vector.")
        c = self.collection(q.collection_name)
        if c.flag & NO_USERID and q.row_id_array:
            raise Refused(ILLEGAL_ID, "Entities IDs are auto-generated. All vectors of this collection must use "
                          "auto-generated IDs.")
        if c.flag & HAS_USERID and not q.row_id_array:
            raise Refused(ILLEGAL_ID, "Entities IDs are user-defined. Please provide IDs for all entities of the "
                          "collection.")
        # CopyRowRecords: floats if there are any, else bytes; totals are checked, not single rows.
        floats = [r.float_data for r in q.row_record_array]
        is_float = any(floats)
        rows = floats if is_float else [r.binary_data for r in q.row_record_array]
        total = sum(len(r) for r in rows)
        if total > 256 * 1024 * 1024:
            raise Refused(ILLEGAL_ROWRECORD, "The amount of data inserted each time cannot exceed 256 MB")
        if is_float != (c.metric in FLOAT_METRICS):
            raise Refused(ILLEGAL_ROWRECORD, "The vectors' type does not fit the collection's metric")
        count = total // 4 if is_float else total * 8
        if not total or total % len(rows):
            raise Refused(ILLEGAL_ROWRECORD, "The vector dimension must be equal to the collection dimension.")
        if count // len(rows) != c.dimension:
            raise Refused(ILLEGAL_DIMENSION, "The vector dimension must be equal to the collection dimension.")
        width = total // len(rows)
        joined = b"".join(rows)
        rows = [joined[i * width:(i + 1) * width] for i in range(len(rows))]
        ids = list(q.row_id_array)
        if not ids:  # SafeIDGenerator
            ids = list(range(self.next_id, self.next_id + len(rows)))
            self.next_id += len(rows)
        tag = q.partition_tag.strip()
        if tag == DEFAULT and self.version >= (1, 1, 2):
            tag = ""  # d27f4d47d
        # GetPartitionByTag takes `_default`; the log's reader then finds no such partition, and the rows are lost
        # (#6266). flush() does the same.
        if tag != DEFAULT and tag not in c.partitions:
            raise Refused(UNEXPECTED, "Partition not found: %s" % tag)
        c.append(("insert", tag, ids, rows))
        a.vector_id_array.extend(ids)
        c.flag |= HAS_USERID if q.row_id_array else NO_USERID  # after the insert

    def GetVectorsByID(self, q, a):
        """GetVectorsByIDRequest.cpp, DBImpl.cpp GetVectorsByID: files only, so flushed rows only."""
        c = self.collection(q.collection_name)
        if not q.id_array:
            raise Refused(ILLEGAL_ARGUMENT, "No entity id specified")
        if len(q.id_array) > 1000:
            raise Refused(ILLEGAL_ARGUMENT, "Input id array size cannot exceed: 1000")
        tag = self.scope(q.partition_tag)
        if tag is not None and tag not in c.partitions:  # `_default` too: #6228
            raise Refused(UNEXPECTED, "Partition not found: %s" % tag)
        rows = {}
        for t, part in c.partitions.items():
            if tag in (None, t):
                rows.update(part)
        if not rows:
            raise Refused(UNEXPECTED, "Collection or partition is empty")
        for id in q.id_array:
            found, record = rows.get(id), a.vectors_data.add()
            if found is not None and c.metric in FLOAT_METRICS:
                record.float_data = found
            elif found is not None:
                record.binary_data = found

    def GetVectorIDs(self, q, a):
        c = self.collection(q.collection_name)
        tag = next((t for t, number in c.segments.items() if str(number) == q.segment_name), None)
        if tag is None:
            raise Refused(UNEXPECTED, "Segment does not exist")
        a.vector_id_array.extend(r[0] for r in c.partitions[tag])

    def DeleteByID(self, q, a):
        """DeleteByIDRequest.cpp; DBImpl.cpp DeleteVectors only logs."""
        c = self.collection(q.collection_name)
        tag = self.scope(q.partition_tag)
        if tag is not None and tag not in c.partitions:
            raise Refused(UNEXPECTED, "Partition not found: %s" % tag)
        c.append(("delete", tag, list(q.id_array)))

    def Flush(self, q, a):
        for name in q.collection_name_array:
            self.collection(name)
        for name in list(q.collection_name_array) or list(self.collections):
            self.collections[name].flush()

    def Compact(self, q, a):
        self.collection(q.collection_name)

    def PreloadCollection(self, q, a):
        self.collection(q.collection_name)

    def ReleaseCollection(self, q, a):
        self.collection(q.collection_name)

    def Cmd(self, q, a):
        """CmdRequest.cpp."""
        known = {"version": self.options.version, "status": "OK", "mode": "CPU"}
        a.string_reply = known.get(q.cmd, "Unknown command")

    # -- calls

    def call(self, name, answer_type, q, raw):
        a = answer_type()
        status = a if name_of(answer_type) == "Status" else a.status
        try:
            getattr(self, name)(q, a)
        except Refused as refused:
            a = answer_type()
            status = a if name_of(answer_type) == "Status" else a.status
            status.error_code, status.reason = refused.code, refused.reason
        else:
            if name in ("Cmd", "HasCollection") or status is not a:
                status.SetInParent()
            status.reason = "OK"
        return a

    def handle(self, name, request_type, answer_type, raw, context):
        with self.lock:
            self.calls.append((name, raw))
            fault = next((f for f in self.faults if f["call"] == name), None)
            if fault:
                fault["nth"] -= 1
                if fault["nth"] <= 0:
                    self.faults.remove(fault)
                else:
                    fault = None
        how = fault and fault["how"]
        q = request_type()
        q.ParseFromString(raw)
        ordered = name in ORDERED

        def deed():
            if ordered:
                with self.queue, self.lock:
                    return self.call(name, answer_type, q, raw)
            with self.lock:
                return self.call(name, answer_type, q, raw)

        if how == "drop":
            self.proxy.drop()
            return answer_type().SerializeToString()
        if how in ("refuse", "busy"):
            a = answer_type()
            status = a if name_of(answer_type) == "Status" else a.status
            status.error_code, status.reason = (1, "told to refuse") if how == "refuse" else (24, "Out of memory")
            return a.SerializeToString()
        if how == "late":
            self.queue.acquire()  # Before the connections break: it has its place in the queue.
            def later():
                time.sleep(0.3)
                with self.lock:
                    self.call(name, answer_type, q, raw)
                self.queue.release()
            threading.Thread(target=later).start()
            self.proxy.drop()
            return answer_type().SerializeToString()
        a = deed()
        if how == "lose":
            self.proxy.drop()
        if how == "unavailable":
            context.abort(grpc.StatusCode.UNAVAILABLE, "upstream connect error")
        return a.SerializeToString()


ORDERED = {"CreateCollection", "DropCollection", "CreateIndex", "DropIndex", "CreatePartition", "DropPartition",
           "Insert", "DeleteByID", "Flush", "Compact"}


def name_of(message):
    return message.DESCRIPTOR.name


class Proxy:
    """Stands before the server, so that connections can be broken without a word, as networks do."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port, self.inner, self.pairs = self.listener.getsockname()[1], None, []

    def serve(self):
        while True:
            outer, _ = self.listener.accept()
            inner = socket.create_connection(("127.0.0.1", self.inner))
            for s in (outer, inner):
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.pairs.append((outer, inner))
            for a, b in ((outer, inner), (inner, outer)):
                threading.Thread(target=self.pump, args=(a, b), daemon=True).start()

    def pump(self, a, b):
        try:
            while data := a.recv(1 << 18):
                b.sendall(data)
        except OSError:
            pass
        for s in (a, b):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def drop(self):
        for pair in self.pairs:
            for s in pair:
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
        self.pairs.clear()


def handlers(server):
    """A handler of raw bytes for every method of the client's service that the stand-in has."""
    found = {}
    for method in milvus_pb2.DESCRIPTOR.services_by_name["MilvusService"].methods:
        if not hasattr(server, method.name):
            continue  # UNIMPLEMENTED, as for what a 1.x server does not know
        request = M[method.input_type.name]
        answer = Status if method.output_type.name == "Status" else M[method.output_type.name]
        found[method.name] = grpc.unary_unary_rpc_method_handler(
            lambda raw, context, m=method.name, q=request, a=answer: server.handle(m, q, a, raw, context))
    return grpc.method_handlers_generic_handler("milvus.grpc.MilvusService", found)


def obey(server, order):
    with server.lock:
        if order["do"] == "fault":
            assert order["how"] in FAULTS, order
            server.faults.append({"nth": 1, **order})
            return True
        if order["do"] == "rows":
            c = server.collections.get(order["collection"])
            if c is None:
                return None
            c.flush()
            return {t: [[str(i), v.hex()] for i, v in rows] for t, rows in c.partitions.items()}
        if order["do"] == "calls":
            return [[name, len(raw)] for name, raw in server.calls]
        if order["do"] == "requests":
            return [raw.hex() for name, raw in server.calls if name == order["call"]]
        raise ValueError(order)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--version", default="1.1.1")
    parser.add_argument("--auto-flush", type=float, default=1.0, help="0: never")
    parser.add_argument("--delete-state", type=float, default=1.0)
    parser.add_argument("--slow-insert", type=float, default=0.0)
    options = parser.parse_args()
    proxy = Proxy()
    server = Server(options, proxy)
    limits = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]  # GrpcServer.cpp
    grpc_server = grpc.server(futures.ThreadPoolExecutor(16), options=limits)
    grpc_server.add_generic_rpc_handlers((handlers(server),))
    proxy.inner = grpc_server.add_insecure_port("127.0.0.1:0")
    grpc_server.start()
    threading.Thread(target=proxy.serve, daemon=True).start()
    print("PORT %d" % proxy.port, flush=True)
    for line in sys.stdin:
        try:
            answer = {"ok": obey(server, json.loads(line))}
        except Exception as e:
            answer = {"error": repr(e)}
        print(json.dumps(answer), flush=True)
    grpc_server.stop(None)


if __name__ == "__main__":
    main()
