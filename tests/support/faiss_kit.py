"""What a case of the Faiss kit is, and how it is written down.

Each case is an index file, beside it the rows that milvusdm must make of it, and an entry in cases.json:

    name, file          of the index, relative to the directory
    source              settings of `source.faiss`, besides its path
    lossy               "no": carried exactly; "yes": needs `lossy: allow`
    tolerance           0: bit for bit; else |got - want| <= tolerance * max(1, |want|)
    order               "stored": rows come in the order of the .npy; "any": compare sorted
    metric              names that `metric_type` may have
    exit                exit codes that are right
    says                what the message must hold, in any case, when the exit code is not 0
    warns               what must be said when the exit code is 0
    never_says          what must not be said
    may_refuse          exit 3 is as good as the right rows
    row_numbers         whether to run it with `ids: row_number` too
    synthetic           the bytes were laid by hand
    note                for people
"""

import json
import pathlib
import sys
import zlib

import faiss
import numpy as np

# Bit patterns that arithmetic would lose: NaNs with payloads, quiet, signalling, negative; infinities;
# negative zero; denormals; the extremes.
STRANGE = np.array(
    [
        0x7FC00000, 0x7FC12345, 0xFFC00001, 0x7F800001, 0xFF812345, 0x7FFFFFFF,
        0x7F800000, 0xFF800000, 0x80000000, 0x00000000, 0x00000001, 0x80000001,
        0x007FFFFF, 0x7F7FFFFF, 0xFF7FFFFF, 0x00800000,
    ],
    dtype=np.uint32,
).view(np.float32)

I64 = np.iinfo(np.int64)

L2, IP = faiss.METRIC_L2, faiss.METRIC_INNER_PRODUCT

METRICS = {
    "L2": L2, "IP": IP, "L1": faiss.METRIC_L1, "Linf": faiss.METRIC_Linf, "Lp": faiss.METRIC_Lp,
    "Canberra": faiss.METRIC_Canberra, "BrayCurtis": faiss.METRIC_BrayCurtis,
    "JensenShannon": faiss.METRIC_JensenShannon, "Jaccard": faiss.METRIC_Jaccard,
    "NaNEuclidean": faiss.METRIC_NaNEuclidean, "Gower": faiss.METRIC_GOWER,
}


class Kit:
    """Writes cases into a directory."""

    def __init__(self, out, seed=1, only=(), check=False):
        self.out = pathlib.Path(out).resolve()
        self.out.mkdir(parents=True, exist_ok=True)
        self.seed, self.only, self.check = seed, only, check
        self.cases, self.unmade, self.wrong = [], [], []
        self.begin("")

    def begin(self, group):
        """Numbers of a group do not change when another group does."""
        self.rng = np.random.default_rng([self.seed, zlib.crc32(group.encode())])

    def group(self, make):
        """Makes a group of cases; what Faiss cannot make is noted, not fatal."""
        self.begin(make.__name__)
        make(self)

    # What cases are made of.

    def rows(self, n, d):
        return self.rng.standard_normal((n, d), dtype=np.float32)

    def bits(self, n, d):
        return self.rng.integers(0, 256, (n, d // 8), dtype=np.uint8)

    def ids(self, n):
        """Distinct ids that are hard: negative, extreme, beyond what a float64 can count."""
        hard = [I64.min, I64.max, -1, 0, 2**53 + 1, -(2**53) - 1, I64.min + 1, I64.max - 1, 2**31, 2**32]
        rest = np.unique(self.rng.integers(-(2**62), 2**62, n + 16))
        self.rng.shuffle(rest)
        ids = np.array(hard + rest.tolist(), dtype=np.int64)[:n]
        self.rng.shuffle(ids)
        return ids

    # Writing them down.

    def wanted(self, name):
        return not self.only or any(name.startswith(prefix) for prefix in self.only)

    def attempt(self, name, make):
        """Adds a case whose index Faiss may be unable to make; says so in cases.json then."""
        if not self.wanted(name):
            return
        try:
            make(name)
        except (RuntimeError, AttributeError, TypeError, NotImplementedError) as error:
            self.unmade.append({"name": name, "why": str(error).splitlines()[-1] if str(error) else repr(error)})

    def add(self, name, index, vectors, ids=None, **more):
        """A case that must be carried."""
        if not self.wanted(name):
            return
        file = self.write(name, index, more.pop("flags", 0))
        vectors = np.ascontiguousarray(vectors)
        ids = np.arange(len(vectors)) if ids is None else ids
        ids = np.ascontiguousarray(ids, dtype=np.int64)
        assert len(ids) == len(vectors), name
        assert vectors.dtype in (np.float32, np.uint8), (name, vectors.dtype)
        np.save(self.out / f"{name}.vectors.npy", vectors)
        np.save(self.out / f"{name}.ids.npy", ids)
        binary = vectors.dtype == np.uint8
        case = {
            "name": name, "file": file, "source": {}, "lossy": "no", "tolerance": 0.0, "order": "stored",
            "metric": ["HAMMING"] if binary else ["L2"], "exit": [0], "says": [], "warns": [], "never_says": [],
            "may_refuse": False,
            "row_numbers": True, "synthetic": isinstance(index, bytes), "note": "",
        }
        self.note(case, more)
        if self.check:
            self.compare_with_faiss(case, vectors, ids)

    def refuse(self, name, index, says, **more):
        """A case that must be refused, even where loss is allowed."""
        if not self.wanted(name):
            return
        file = self.write(name, index, more.pop("flags", 0))
        case = {
            "name": name, "file": file, "source": {"lossy": "allow"}, "lossy": "no", "tolerance": 0.0,
            "order": "any", "metric": [], "exit": [3], "says": [says] if isinstance(says, str) else says, "warns": [], "never_says": [],
            "may_refuse": False, "row_numbers": False, "synthetic": isinstance(index, bytes), "note": "",
        }
        self.note(case, more)

    def note(self, case, more):
        unknown = set(more) - set(case)
        assert not unknown, f"{case['name']}: {unknown}"
        case.update(more)
        for key in ("metric", "says", "warns", "never_says"):
            if isinstance(case[key], str):
                case[key] = [case[key]]
        assert case["name"] not in [c["name"] for c in self.cases], case["name"]
        self.cases.append(case)

    def write(self, name, index, flags):
        file = f"{name}.index"
        path = self.out / file
        if index is None:
            pass
        elif isinstance(index, bytes):
            path.write_bytes(index)
        elif isinstance(index, faiss.IndexBinary):
            faiss.write_index_binary(index, str(path))
        elif flags:
            faiss.write_index(index, str(path), flags)
        else:
            faiss.write_index(index, str(path))
        return file

    def bytes_of(self, index):
        """The file of an index, to be cut and changed."""
        if isinstance(index, faiss.IndexBinary):
            return faiss.serialize_index_binary(index).tobytes()
        return faiss.serialize_index(index).tobytes()

    def finish(self):
        listed = {"faiss": faiss.__version__, "seed": self.seed, "cases": self.cases, "unmade": self.unmade}
        (self.out / "cases.json").write_text(json.dumps(listed, indent=1))
        for line in self.wrong:
            print(line, file=sys.stderr)
        return not self.wrong

    def compare_with_faiss(self, case, vectors, ids):
        """Whether Faiss itself reads from the file what the case expects, where it can say."""
        if case["may_refuse"]:
            return
        path = str(self.out / case["file"])
        try:
            if vectors.dtype == np.uint8:
                index = faiss.read_index_binary(path)
                if isinstance(index, (faiss.IndexBinaryIDMap, faiss.IndexBinaryHash)):
                    return
            else:
                index = faiss.read_index(path, faiss.IO_FLAG_ONDISK_SAME_DIR)
            got_ids, got = dump(index)
        except RuntimeError as error:
            print(f"faiss cannot say: {case['name']}: {str(error).splitlines()[-1]}", file=sys.stderr)
            return
        if got is None:
            return
        problem = None
        if len(got) != len(vectors):
            problem = f"{len(got)} rows, expected {len(vectors)}"
        else:
            a, b = np.argsort(got_ids, kind="stable"), np.argsort(ids, kind="stable")
            if not np.array_equal(got_ids[a], ids[b]):
                problem = "ids differ"
            elif got.dtype == np.uint8 and not np.array_equal(got[a], vectors[b]):
                problem = "bits differ"
            elif got.dtype != np.uint8 and len(np.unique(ids)) == len(ids):
                with np.errstate(invalid="ignore"):
                    off = np.abs(got[a] - vectors[b]) / np.maximum(1, np.abs(vectors[b]))
                if np.nanmax(off, initial=0) > max(case["tolerance"], 1e-5):
                    problem = f"components differ by {np.nanmax(off)}"
        if problem:
            self.wrong.append(f"faiss disagrees: {case['name']}: {problem}")


def decoded(ivf):
    """Ids and rows of an inverted file as Faiss decodes them, list after list."""
    ivf = faiss.downcast_index(ivf)
    ids, rows = [np.empty(0, np.int64)], []
    for number in range(ivf.nlist):
        size = ivf.invlists.list_size(number)
        if size == 0:
            continue
        ids.append(faiss.rev_swig_ptr(ivf.invlists.get_ids(number), size).copy())
        for offset in range(size):
            row = np.empty(ivf.d, np.float32)
            ivf.reconstruct_from_offset(number, offset, faiss.swig_ptr(row))
            rows.append(row)
    return np.concatenate(ids), np.array(rows, np.float32).reshape(-1, ivf.d)


def dump(index):
    """Ids and rows of any index, as far as Faiss can say."""
    index = faiss.downcast_IndexBinary(index) if isinstance(index, faiss.IndexBinary) else faiss.downcast_index(index)
    n = index.ntotal
    if isinstance(index, (faiss.IndexIDMap, faiss.IndexBinaryIDMap)):
        ids, rows = dump(index.index)
        if rows is None:
            return None, None
        return faiss.vector_to_array(index.id_map)[ids], rows
    if isinstance(index, faiss.IndexBinaryIVF):
        if n == 0:
            return np.empty(0, np.int64), np.empty((0, index.code_size), np.uint8)
        lists = index.invlists
        full = [k for k in range(index.nlist) if lists.list_size(k)]
        ids = [faiss.rev_swig_ptr(lists.get_ids(k), lists.list_size(k)).copy() for k in full]
        size = index.code_size
        rows = [faiss.rev_swig_ptr(lists.get_codes(k), lists.list_size(k) * size).copy() for k in full]
        return np.concatenate(ids), np.concatenate(rows).reshape(-1, size)
    if isinstance(index, faiss.IndexIVFFlatDedup):
        return None, None
    if isinstance(index, faiss.IndexIVF):
        return decoded(index)
    if isinstance(index, faiss.IndexPreTransform):
        return None, None
    if isinstance(index, faiss.IndexRefine):
        return dump(index.refine_index)
    if isinstance(index, faiss.IndexBinaryFromFloat):
        return None, None
    if isinstance(index, faiss.IndexIVFIndependentQuantizer):
        return None, None
    if n == 0:
        width = index.code_size if isinstance(index, faiss.IndexBinary) else index.d
        kind = np.uint8 if isinstance(index, faiss.IndexBinary) else np.float32
        return np.empty(0, np.int64), np.empty((0, width), kind)
    return np.arange(n), index.reconstruct_n(0, n)


def filled(index, x, ids=None):
    """The index, trained and filled."""
    if not index.is_trained:
        index.train(x)
    if ids is None:
        index.add(x)
    else:
        index.add_with_ids(x, ids)
    return index


def ivf_flat(d, nlist, metric=L2, quantizer=None):
    quantizer = quantizer or faiss.IndexFlat(d, metric)
    index = faiss.IndexIVFFlat(quantizer, d, nlist, metric)
    index.own_fields = True
    quantizer.this.disown()
    return index
