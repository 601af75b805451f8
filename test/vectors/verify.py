#!/usr/bin/env python3
"""A second reader of bfmig's generations, written from docs/FORMAT.md alone: no code is shared with the product.

    verify.py KEY_FILE GENERATIONS_FOLDER

Replays snapshot and deltas of every generation in the folder, computes page digests, tops and root again, and compares
them with what the files say. Prints a line for each generation and exits with 0 (all agree), 1 or 2 (usage).
Generations with disks are refused: it knows memory only. For zstd it needs the system's libzstd.
"""
import ctypes
import json
import re
import struct
import sys
from pathlib import Path

PAGE = 4096
ZEROES = bytes(PAGE)
HEADER, PAGES, DEVICE, TRAILER = 1, 2, 3, 4
SAME, ZERO, MOVED, DELTA, LZ4, RAW = range(1, 7)
KIND_NAMES = ["same", "zero", "moved", "delta", "lz4", "raw"]


class Wrong(Exception):
    """Something in the files is not as it must be."""


def check(condition, problem):
    if not condition:
        raise Wrong(problem)


# BLAKE3, as its paper says it.
IV = [0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19]
PERMUTATION = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8]
QUARTERS = [(i, i + 4, i + 8, i + 12) for i in range(4)]
QUARTERS += [(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4) for i in range(4)]
CHUNK_START, CHUNK_END, PARENT, ROOT, KEYED = 1, 2, 4, 8, 16
MASK = 0xFFFFFFFF


def compress(chaining, block, length, counter, flags):
    v = chaining + IV[:4] + [counter & MASK, counter >> 32, length, flags]
    m = struct.unpack("<16I", block.ljust(64, b"\0"))
    for _ in range(7):
        for i, (a, b, c, d) in enumerate(QUARTERS):
            va, vb, vc, vd = v[a], v[b], v[c], v[d]
            va = (va + vb + m[2 * i]) & MASK
            vd ^= va
            vd = (vd >> 16) | (vd << 16 & MASK)
            vc = (vc + vd) & MASK
            vb ^= vc
            vb = (vb >> 12) | (vb << 20 & MASK)
            va = (va + vb + m[2 * i + 1]) & MASK
            vd ^= va
            vd = (vd >> 8) | (vd << 24 & MASK)
            vc = (vc + vd) & MASK
            vb ^= vc
            v[a], v[b], v[c], v[d] = va, (vb >> 7) | (vb << 25 & MASK), vc, vd
        m = [m[i] for i in PERMUTATION]
    return [v[i] ^ v[i + 8] for i in range(8)]


def node(data, counter, key, flags):
    """The arguments of the last compression of the tree over data."""
    if len(data) <= 1024:
        chaining, start = key, CHUNK_START
        while len(data) > 64:
            chaining = compress(chaining, data[:64], 64, counter, flags | start)
            data, start = data[64:], 0
        return chaining, data, len(data), counter, flags | start | CHUNK_END
    left = 1 << (len(data) - 1).bit_length() - 1
    parts = node(data[:left], counter, key, flags), node(data[left:], counter + left // 1024, key, flags)
    return key, struct.pack("<16I", *compress(*parts[0]), *compress(*parts[1])), 64, 0, flags | PARENT


def blake3(data, key=None):
    words, flags = (IV, 0) if key is None else (list(struct.unpack("<8I", key)), KEYED)
    chaining, block, length, _, flags = node(bytes(data), 0, words, flags)
    return struct.pack("<8I", *compress(chaining, block, length, 0, flags | ROOT))


def lz4_block(block, length, history=b""):
    """The bytes of an LZ4 block that may refer back to what stands before it."""
    out, at, end = bytearray(history), 0, len(history) + length

    def more(nibble):
        nonlocal at
        total, byte = nibble, 255 if nibble == 15 else 0
        while byte == 255:
            check(at < len(block), "an LZ4 block is cut")
            byte, at = block[at], at + 1
            total += byte
        return total

    while True:
        check(at < len(block), "an LZ4 block is cut")
        token, at = block[at], at + 1
        literals = more(token >> 4)
        check(literals <= len(block) - at and len(out) + literals <= end, "an LZ4 block does not fit")
        out += block[at : at + literals]
        at += literals
        if at == len(block):
            check(len(out) == end, "an LZ4 block is too short")
            return bytes(out[len(history) :])
        check(len(block) - at >= 2, "an LZ4 block is cut")
        distance, at = block[at] | block[at + 1] << 8, at + 2
        match = more(token & 15) + 4
        check(0 < distance <= len(out) and len(out) + match <= end, "an LZ4 block refers back wrongly")
        for _ in range(match):
            out.append(out[-distance])


def zstd_frame(frame, length):
    """The content of the one zstd frame that `frame` is, by the system's library; its form is checked here."""
    size_bytes = 1 << (frame[4] >> 6)
    size = int.from_bytes(frame[5 : 5 + size_bytes], "little") + (256 if size_bytes == 2 else 0)
    check(frame[4] & 0x3F == 0x20 and size == length, "a zstd frame has another head")
    library, out = ctypes.CDLL("libzstd.so.1"), ctypes.create_string_buffer(length)
    library.ZSTD_decompress.restype = library.ZSTD_findFrameCompressedSize.restype = ctypes.c_size_t
    stored = ctypes.c_size_t(len(frame))
    check(library.ZSTD_findFrameCompressedSize(frame, stored) == len(frame), "a zstd frame has another length")
    done = library.ZSTD_decompress(out, ctypes.c_size_t(length), frame, stored)
    check(done == length, "a zstd frame does not decompress to its length")
    return out.raw


def frames(data, first):
    """(kind, region, records, plain columns, whole pages, sequence) of each; first: number of the first, or None.
    Whole pages are None in a frame for zstd: there they follow the columns."""
    at = 0
    while at < len(data):
        check(len(data) - at >= 48, "a frame is cut")
        magic, kind, codec, region, sequence, payload, stored, plain, records, reserved = struct.unpack_from(
            "<4sBBHIIIIII", data, at
        )
        frame = data[at : at + 48 + payload]
        check(magic == b"BFF1" and reserved == 0, "it is not a frame of version 1")
        check(stored <= payload and stored <= plain <= 1 << 25 and records <= 1024, "a frame's lengths do not fit")
        zstd = codec == 3 and kind == PAGES and stored == payload and plain <= 1310720
        check(len(frame) == 48 + payload, "a frame is cut")
        checksum = blake3(frame[:32] + bytes(16) + frame[48:])[:16]
        check(checksum == frame[32:48], f"the checksum of frame {sequence} differs")
        check(first is None or sequence == first, f"frame {sequence} stands where {first} is next")
        check(codec in (1, 2) or zstd, "unknown codec")
        columns = frame[48 : 48 + stored]
        columns = columns if codec == 1 else (zstd_frame if zstd else lz4_block)(columns, plain)
        check(len(columns) == plain, "columns have another length")
        yield kind, region, records, columns, None if zstd else frame[48 + stored :], sequence
        at, first = at + len(frame), sequence + 1


class Reader:
    """Takes bytes from the front."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        check(count <= len(self.data) - self.at, "columns are cut")
        self.at += count
        return self.data[self.at - count : self.at]

    def numbers(self, form, count):
        return struct.unpack(f"<{count}{form}", self.take(struct.calcsize(form) * count))

    def is_empty(self):
        return self.at == len(self.data)


def records_of(records, columns, whole, region, base):
    """(page in the page space, kind, content) of each record; base is the list of all pages of the base."""
    first_page, pages_of_region = region
    reader = Reader(columns)
    moved, wholes, mask_bytes, literal_words = reader.numbers("I", 4)
    kinds, steps = reader.take(records), reader.numbers("I", records)
    references, sizes = iter(reader.numbers("I", moved)), iter(reader.numbers("H", wholes))
    masks, literals = Reader(reader.take(mask_bytes)), Reader(reader.take(8 * literal_words))
    check(whole is not None or LZ4 not in kinds, "a page is compressed twice")
    whole = Reader(reader.take(len(columns) - reader.at) if whole is None else whole)
    page, window = -1, b""
    for kind, step in zip(kinds, steps):
        page = (page + 1 + step) % 2**32
        check(page < pages_of_region, f"page {page} does not exist")
        old, content = base[first_page + page], ZEROES
        if kind == SAME:
            content = old
        elif kind == MOVED:
            reference = next(references, len(base))
            check(reference < len(base), "a record refers beyond the base")
            content = base[reference]
        elif kind == DELTA:
            content = bytearray(old)
            (top,) = masks.numbers("Q", 1)
            for group in (g for g in range(64) if top >> g & 1):
                mask = masks.take(1)[0]
                for at in (group * 64 + word * 8 for word in range(8) if mask >> word & 1):
                    content[at : at + 8] = literals.take(8)
        elif kind in (LZ4, RAW):
            stored = whole.take(next(sizes, PAGE))
            content = stored if kind == RAW else lz4_block(stored, PAGE, window)
            check(len(content) == PAGE, "a raw page has another length")
            window += content
        else:
            check(kind == ZERO, f"unknown kind of record {kind}")
        yield first_page + page, kind, bytes(content)
    left = [*references, *sizes, *(one for one in (reader, masks, literals, whole) if not one.is_empty())]
    check(not left, "data is left over")


def read_manifest(folder):
    text = (folder / "manifest.json").read_bytes()
    form = re.fullmatch(rb'\{"manifest":(\{.*\}),"digest":"([0-9a-f]{64})"\}\n', text)
    check(form is not None, "manifest.json: it has another form")
    check(blake3(form[1]).hex() == form[2].decode(), "manifest.json: its digest differs")
    manifest = json.loads(form[1])
    check(manifest["format"] == 1, "manifest.json: only generations without disks are read here")
    return manifest


def replay(data, manifest, regions, base):
    """Pages after the delta, and those that have a record."""
    pages, dirty, counts, total, ended = list(base), set(), dict.fromkeys(KIND_NAMES, 0), 0, False
    for kind, region, records, columns, whole, sequence in frames(data, 1):
        check(not ended, "a frame stands after the trailer")
        total += 1
        if sequence == 1:
            check(kind == HEADER, "it does not begin with a header")
            wanted = {name: manifest[name] for name in ("vm", "generation", "base")}
            check(json.loads(columns) == {**wanted, "totalPages": len(base)}, "it joins other generations")
        elif kind == TRAILER:
            ended, reader = True, Reader(columns)
            (length,) = reader.numbers("I", 1)
            said = json.loads(reader.take(length))
            check(said == {"frames": total, "records": counts}, "its trailer counts something else")
            bitmap = bytearray((len(base) + 7) // 8)
            for page in dirty:
                bitmap[page >> 3] |= 1 << (page & 7)
            check(reader.take(len(bitmap)) == bitmap and reader.is_empty(), "its dirty bitmap differs")
        else:
            check(kind == PAGES and region < len(regions), "a frame is of another kind or region")
            for page, record, content in records_of(records, columns, whole, regions[region], base):
                pages[page] = content
                dirty.add(page)
                counts[KIND_NAMES[record - 1]] += 1
    check(ended and counts == manifest["records"], "it has no trailer, or the manifest counts other records")
    return pages, dirty


def top_of(digests, key):
    while True:
        groups = [digests[at : at + 64] for at in range(0, len(digests), 64)]
        digests = [blake3(b"".join(group), key)[:16] for group in groups]
        if len(digests) == 1:
            return digests[0]


def check_generation(folder, key, done, known):
    """The pages of a generation. `done` has those of the ones before, by number; `known` digests of contents."""
    manifest = read_manifest(folder)
    check(str(manifest["generation"]) == folder.name, "manifest.json: it is of another generation")
    data = {name: (folder / name).read_bytes() for name in manifest["files"]}
    for name, said in manifest["files"].items():
        check(len(data[name]) == said["bytes"], f"{name}: its length differs")
        check("digest" not in said or blake3(data[name]).hex() == said["digest"], f"{name}: its digest differs")
    sizes = [region["lengthBytes"] // PAGE for region in manifest["regions"]]
    regions, total = [(sum(sizes[:i]), size) for i, size in enumerate(sizes)], sum(sizes)
    check(len(data["ram.img"]) == total * PAGE, "ram.img: its length is not that of the regions")
    image = [data["ram.img"][at : at + PAGE] for at in range(0, total * PAGE, PAGE)]
    if manifest["base"] is None:
        pages = image
    else:
        root, base = done.get(manifest["base"]["generation"], (None, None))
        check(root == manifest["base"]["root"], "manifest.json: its base is missing or another one")
        try:
            pages, dirty = replay(data["delta"], manifest, regions, base)
        except Wrong as wrong:
            raise Wrong(f"delta: {wrong}") from None
        for page in range(total):
            fits = image[page] == pages[page] or (page not in dirty and image[page] == ZEROES)
            check(fits, f"ram.img: page {page} is not what the delta says")
    for page, content in enumerate(pages):
        if content not in known:
            known[content] = blake3(content, key)[:16]
        said = data["digests"][page * 16 : page * 16 + 16]
        check(said == known[content], f"digests: page {page} of ram.img has another one")
    pieces = list(frames(data["device"], None))
    check(pieces and all(kind == DEVICE for kind, *_ in pieces), "device: it has other frames")
    device = b"".join(columns for _, _, _, columns, _, _ in pieces)
    device_digest = blake3(device, key)
    said = (len(device), device_digest.hex())
    check(said == (manifest["deviceBytes"], manifest["deviceDigest"]), "device: it is not what the manifest says")
    text = b"bfmig root 1\0"
    for region, (first, count) in zip(manifest["regions"], regions):
        name, top = region["name"].encode(), top_of([known[page] for page in pages[first : first + count]], key)
        text += struct.pack("<HQ", len(name), region["lengthBytes"]) + name + top
    check(blake3(text + device_digest, key).hex() == manifest["root"], "manifest.json: the root differs")
    done[manifest["generation"]] = (manifest["root"], pages)


def main(arguments):
    if len(arguments) != 2:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    key = bytes.fromhex(Path(arguments[0]).read_text())
    folders = [folder for folder in Path(arguments[1]).iterdir() if folder.name.isdigit()]
    done, known, failed = {}, {}, len(folders) == 0
    for folder in sorted(folders, key=lambda folder: int(folder.name)):
        try:
            check_generation(folder, key, done, known)
            print(f"generation {folder.name}: OK")
        except (Wrong, OSError, ValueError, KeyError, TypeError) as wrong:
            failed = True
            print(f"generation {folder.name}: {wrong}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
