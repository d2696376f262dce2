"""Kinds that hold bits."""

import faiss
import numpy as np

from faiss_kit import filled, ivf_flat


def binary(kit):
    d = 40
    x, ids = kit.bits(300, d), kit.ids(300)
    def quantizer(kind=None):
        made = kind or faiss.IndexBinaryFlat(d)
        return made
    def lists(nlist=8, centres=None):
        centres = quantizer(centres)
        made = faiss.IndexBinaryIVF(centres, d, nlist)
        made.own_fields = True
        centres.this.disown()
        return made
    kit.add("bin_flat", filled(faiss.IndexBinaryFlat(d), x), x)
    for bits in (8, 16, 136, 1024, 80_000):
        y = kit.bits(37, bits)
        kit.add(f"bin_flat_d{bits}", filled(faiss.IndexBinaryFlat(bits), y), y)
    kit.add("bin_flat_empty", faiss.IndexBinaryFlat(d), x[:0])
    y = kit.bits(5000, 64)
    kit.add("bin_flat_long", filled(faiss.IndexBinaryFlat(64), y), y)
    kit.add("bin_idmap", filled(faiss.IndexBinaryIDMap(faiss.IndexBinaryFlat(d)), x, ids), x, ids)
    kit.add("bin_idmap2", filled(faiss.IndexBinaryIDMap2(faiss.IndexBinaryFlat(d)), x, ids), x, ids)
    kit.add("bin_idmap_ivf", filled(faiss.IndexBinaryIDMap(lists()), x, ids), x, ids, order="any")
    kit.add("bin_idmap_hnsw", filled(faiss.IndexBinaryIDMap2(faiss.IndexBinaryHNSW(d, 8)), x, ids), x, ids)
    # Faiss 1.5.3 to 1.7.4 wrote 0 for the bytes of a row into the header of a map.
    unset = lambda index: (whole := kit.bytes_of(index))[:8] + bytes(4) + whole[12:]
    for kind in (faiss.IndexBinaryIDMap, faiss.IndexBinaryIDMap2):
        for name, inner, order in (("flat", faiss.IndexBinaryFlat(d), "stored"), ("ivf", lists(), "any"),
                                   ("hnsw", faiss.IndexBinaryHNSW(d, 8), "stored")):
            kit.add(f"bin_old_{kind.__name__}_{name}", unset(filled(kind(inner), x, ids)), x, ids, order=order)
    kit.add("bin_old_idmap_empty", unset(faiss.IndexBinaryIDMap(faiss.IndexBinaryFlat(d))), x[:0])
    kit.refuse("bin_flat_no_code_size", unset(filled(faiss.IndexBinaryFlat(d), x)), "code_size = 0")
    kit.add("bin_ivf", filled(lists(), x, ids), x, ids, order="any")
    kit.add("bin_ivf_rows", filled(lists(), x), x, order="any")
    kit.add("bin_ivf_sparse", sparse_binary(lists(64), x, ids), x[:9], ids[:9], order="any")
    kit.attempt("bin_ivf_hnsw", lambda name: kit.add(name, filled(lists(8, faiss.IndexBinaryHNSW(d, 8)), x, ids), x, ids, order="any"))
    index = filled(lists(), x)
    index.set_direct_map_type(faiss.DirectMap.Array)
    kit.add("bin_ivf_map_array", index, x, order="any")
    index = filled(lists(), x, ids)
    index.set_direct_map_type(faiss.DirectMap.Hashtable)
    kit.add("bin_ivf_map_hash", index, x, ids, order="any")
    index = filled(lists(), x, ids)
    index.remove_ids(ids[::2])
    kit.add("bin_ivf_removed", index, x[1::2], ids[1::2], order="any")
    index = lists()
    index.train(x)
    kit.add("bin_ivf_empty", index, x[:0], order="any")
    kit.add("bin_hnsw", filled(faiss.IndexBinaryHNSW(d, 8), x), x)
    def cagra(name):
        index = faiss.IndexBinaryHNSWCagra(d, 8)
        index.base_level_only = False
        kit.add(name, filled(index, x), x)
    kit.attempt("bin_hnsw_cagra", cagra)
    for b in (1, 7, 8, 13, 20):
        kit.attempt(f"bin_hash_{b}", lambda name, b=b: kit.add(name, filled(faiss.IndexBinaryHash(d, b), x, ids), x, ids, order="any"))
    same = np.repeat(x[:10], 30, axis=0)
    kit.attempt("bin_hash_full_buckets", lambda name: kit.add(name, filled(faiss.IndexBinaryHash(d, 9), same, ids), same, ids, order="any"))
    kit.attempt("bin_hash_rows", lambda name: kit.add(name, filled(faiss.IndexBinaryHash(d, 9), x), x, order="any"))
    kit.attempt("bin_hash_empty", lambda name: kit.add(name, faiss.IndexBinaryHash(d, 9), x[:0], order="any"))
    kit.attempt("bin_multi_hash", lambda name: kit.add(name, filled(faiss.IndexBinaryMultiHash(d, 3, 7), x), x))
    kit.attempt("bin_multi_hash_empty", lambda name: kit.add(name, faiss.IndexBinaryMultiHash(d, 3, 7), x[:0]))
    def from_float(inner, **more):
        def make(name):
            index = faiss.IndexBinaryFromFloat(inner)
            kit.add(name, filled(index, x), x, **more)
        return make
    kit.attempt("bin_from_float", from_float(faiss.IndexFlatL2(d)))
    kit.attempt("bin_from_float_hnsw", from_float(faiss.IndexHNSWFlat(d, 8)))
    kit.attempt("bin_from_float_ivf", from_float(ivf_flat(d, 4), order="any"))
    y = kit.bits(4, d)
    y[:] = [[0] * 5, [255] * 5, [1] * 5, [128] * 5]
    kit.add("bin_extremes", filled(faiss.IndexBinaryFlat(d), y), y)
    def skipped(name):
        if not kit.wanted(name):
            return
        index = filled(faiss.IndexBinaryHNSW(d, 8), x)
        whole = kit.bytes_of(index)
        at = whole.index(b"IBxF")
        kit.refuse(name, whole[:at] + b"null", "null")
    kit.attempt("bin_hnsw_null", skipped)


def sparse_binary(index, x, ids):
    index.train(x)
    index.add_with_ids(x[:9], ids[:9])
    return index
