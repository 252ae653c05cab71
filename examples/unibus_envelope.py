"""Reads and writes the envelopes of unibus messages, as docs/protocol/envelope.md specifies them.

As a program, it reads payloads from stdin, one in hex a line, and prints what each one says.
"""
import re, struct, sys, unicodedata
MAGIC = bytes.fromhex("00756201")
KINDS = "text data file edit delete react unreact pin title receipt".split()
PLAIN = {1: "invite", 2: "join", 3: "leave", 4: "kick", 5: "ack"}  # types of frames that have no envelope
BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"

def expect(holds):
    if not holds: raise ValueError("bad_envelope")

def matching(pattern):
    def read(value):
        expect(re.fullmatch(pattern, text := value.decode("latin-1")))
        return text
    return read

def file_name(value):
    name = value.decode()  # UnicodeDecodeError is a ValueError
    expect(1 <= len(value) <= 255 and name not in (".", "..") and unicodedata.normalize("NFC", name) == name)
    expect(not any(unicodedata.category(one) == "Cc" or one in BIDI or one in "/\\" for one in name))
    return name

def many(form, most):
    """1 to `most` values of one form, each a tuple."""
    def read(value):
        size = struct.calcsize(form)
        expect(len(value) % size == 0 and 1 <= len(value) // size <= most)
        return list(struct.iter_unpack(form, value))
    return read

def one(form):
    return lambda value: many(form, 1)(value)[0]

def hops(value):
    expect(len(value) == 1 and value[0] <= 8)
    return value[0]

FIELDS = {  # tag: name, how to read it, how to write it
    1: ("kind", matching("[a-z][a-z0-9.-]{0,31}"), str.encode),
    2: ("media_type", matching("[\x20-\x7e]{1,127}"), str.encode),
    3: ("file_name", file_name, str.encode),
    4: ("chain", one(">8sI16s"), lambda entry: struct.pack(">8sI16s", *entry)),
    5: ("heads", many(">8sI16s", 4), lambda heads: b"".join(struct.pack(">8sI16s", *head) for head in heads)),
    6: ("statement", one(">I16s"), lambda statement: struct.pack(">I16s", *statement)),
    7: ("hops", hops, lambda value: bytes([value])),
    8: ("void", many(">I", 16), lambda numbers: b"".join(struct.pack(">I", *number) for number in numbers)),
    129: ("parts", one(">QI"), lambda parts: struct.pack(">QI", *parts)),
}

def read(payload, frame_type=0):
    """The kind, the fields and the body of a payload. Fields that are not known here have their tag as name."""
    if frame_type in PLAIN: return PLAIN[frame_type], {}, payload
    if not payload.startswith(MAGIC): return "react" if frame_type == 6 else "text", {}, payload
    expect(len(payload) >= 6)
    end, at, last, fields = 6 + int.from_bytes(payload[4:6], "big"), 6, 0, {}
    expect(end <= 6 + 1024 and end <= len(payload))
    while at < end:
        expect(at + 3 <= end)
        tag, stop = payload[at], at + 3 + int.from_bytes(payload[at + 1:at + 3], "big")
        expect(tag > last and stop <= end)
        name, read_value, _ = FIELDS.get(tag, (tag, bytes, None))
        fields[name], last, at = read_value(payload[at + 3:stop]), tag, stop
    kind = fields.get("kind", "text")
    is_known = kind in KINDS or kind.startswith("app.")
    is_critical = any(isinstance(name, int) and name >= 128 for name in fields)
    return kind if is_known and not is_critical else "unsupported", fields, payload[end:]

def write(fields, body):
    """The payload with these fields: the bare body, if there are none and it does not look like an envelope."""
    if not fields and not body.startswith(MAGIC): return body
    values = {tag: how(fields[name]) for tag, (name, _, how) in FIELDS.items() if name in fields}
    values |= {name: value for name, value in fields.items() if isinstance(name, int)}
    header = b"".join(bytes([tag]) + struct.pack(">H", len(value)) + value for tag, value in sorted(values.items()))
    payload = MAGIC + struct.pack(">H", len(header)) + header + body
    read(payload)  # refuses what no reader would take
    return payload

def shown(value):
    if isinstance(value, (list, tuple)): return ":".join(map(shown, value))
    return value.hex() if isinstance(value, bytes) else value.encode().hex() if isinstance(value, str) else str(value)

def line(payload):
    """What a payload says, on one line: the kind, each field, the body. Writing it again gives the same bytes."""
    try: kind, fields, body = read(payload)
    except ValueError: return "bad_envelope"
    if payload.startswith(MAGIC) and fields: assert write(fields, body) == payload
    return " ".join([kind, *(f"{name}={shown(value)}" for name, value in fields.items()), f"body={body.hex()}"])

if __name__ == "__main__":
    for given in sys.stdin: print(line(bytes.fromhex(given)))
