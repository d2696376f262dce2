"""Rows as the codes that an index stores say them, worked out by numpy in whole numbers and single operations.

Faiss's own decoders answer differently from processor to processor: with AVX2 and above they fuse multiplication and
addition, multiply by 1/255 instead of dividing, and have a NaN's quiet bit set by the instruction that widens it. What is
stored says what must arrive, on every machine.
"""

import faiss
import numpy as np


def fields(codes, bits, count):
    """`count` whole numbers of `bits` bits from each row of bytes, the lowest bit of the first byte first."""
    ones = np.unpackbits(codes, axis=1, bitorder="little")[:, :bits * count].reshape(len(codes), count, bits)
    return (ones.astype(np.uint32) << np.arange(bits, dtype=np.uint32)).sum(axis=2, dtype=np.uint32)


def half(codes):
    """IEEE halves as float32: a NaN keeps its bits."""
    words = codes.view("<u2").astype(np.uint32)
    nan = words & 0x7FFF > 0x7C00
    wide = np.where(nan, 0, words).astype("<u2").view("<f2").astype("<f4").view("<u4")
    return np.where(nan, (words & 0x8000) << 16 | 0x7F800000 | (words & 0x3FF) << 13, wide).astype("<u4").view("<f4")


def scalar(sq, codes):
    """Rows of a scalar quantizer."""
    kinds, d = faiss.ScalarQuantizer, sq.d
    if sq.qtype == kinds.QT_fp16:
        return half(codes)
    if sq.qtype == kinds.QT_bf16:
        return (codes.view("<u2").astype("<u4") << 16).view("<f4")
    if sq.qtype in (kinds.QT_8bit_direct, kinds.QT_8bit_direct_signed):
        return codes.astype(np.float32) - np.float32(128 if sq.qtype == kinds.QT_8bit_direct_signed else 0)
    bits = {kinds.QT_8bit: 8, kinds.QT_8bit_uniform: 8, kinds.QT_4bit: 4, kinds.QT_4bit_uniform: 4, kinds.QT_6bit: 6}[sq.qtype]
    trained = faiss.vector_to_array(sq.trained)
    least, width = trained.reshape(2, -1)
    units = (fields(codes, bits, d).astype(np.float32) + np.float32(0.5)) / np.float32((1 << bits) - 1)
    return least + units * width


def product(pq, codes):
    """Rows of a product quantizer."""
    centroids = faiss.vector_to_array(pq.centroids).reshape(pq.M, pq.ksub, pq.dsub)
    return centroids[np.arange(pq.M), fields(codes, pq.nbits, pq.M)].reshape(len(codes), pq.d)


def rows(index):
    """Rows of an index without lists, in order."""
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexHNSW):
        return rows(index.storage)
    codes = faiss.vector_to_array(index.codes).reshape(index.ntotal, -1)
    if isinstance(index, faiss.IndexFlat):
        return codes.view("<f4")
    if isinstance(index, faiss.IndexPQ):
        return product(index.pq, codes)
    return scalar(index.sq, codes)


def centre(quantizer, number):
    """The centre of a list; those that are codes themselves are decoded here too."""
    quantizer = faiss.downcast_index(quantizer)
    if isinstance(quantizer, (faiss.IndexHNSW, faiss.IndexScalarQuantizer)):
        return rows(quantizer)[number]
    return quantizer.reconstruct(number)


def lists(ivf):
    """Ids and rows of an inverted file of codes, list after list."""
    ivf = faiss.downcast_index(ivf)
    size, all_ids, all_rows = ivf.code_size, [np.empty(0, np.int64)], [np.empty((0, ivf.d), np.float32)]
    for number in range(ivf.nlist):
        n = ivf.invlists.list_size(number)
        if n == 0:
            continue
        ids = faiss.rev_swig_ptr(ivf.invlists.get_ids(number), n).copy()
        codes = faiss.rev_swig_ptr(ivf.invlists.get_codes(number), n * size).copy().reshape(n, size)
        got = scalar(ivf.sq, codes) if isinstance(ivf, faiss.IndexIVFScalarQuantizer) else product(ivf.pq, codes)
        if ivf.by_residual:
            got = got + centre(ivf.quantizer, number)
        if isinstance(ivf, faiss.IndexIVFPQR):
            second = faiss.vector_to_array(ivf.refine_codes).reshape(-1, ivf.refine_pq.code_size)
            got = got + product(ivf.refine_pq, second[ids])
        all_ids.append(ids)
        all_rows.append(got)
    return np.concatenate(all_ids), np.concatenate(all_rows)


def undone(index, stored=None):
    """Rows of a chain of linear maps and remaps, turned back in double precision."""
    x = (rows(index.index) if stored is None else stored).astype(np.float64)
    for number in reversed(range(index.chain.size())):
        step = faiss.downcast_VectorTransform(index.chain.at(number))
        if isinstance(step, faiss.RemapDimensionsTransform):
            back = np.zeros((len(x), step.d_in))
            places = faiss.vector_to_array(step.map)
            back[:, places[places >= 0]] = x[:, places >= 0]
            x = back
            continue
        matrix = faiss.vector_to_array(step.A).reshape(step.d_out, step.d_in)
        x = (x - (faiss.vector_to_array(step.b) if step.have_bias else 0)) @ matrix
    return x.astype(np.float32)
