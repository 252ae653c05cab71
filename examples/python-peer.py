"""A unibus peer in Python, written from docs/protocol: python-peer.py URL IDENTITY SUBJECT [TEXT...]

Needs PyNaCl and nats-py. Lists your rooms, verifies the room SUBJECT, prints its history, sends each TEXT, and prints
what arrives, in encrypted and signed rooms. It keeps no state, so an older statement than before deceives it (ROOM-20).
"""
import asyncio, base64, binascii, hashlib, json, re, secrets, sys, time, urllib.parse, urllib.request
import nats, unibus_envelope as envelope
from nacl import exceptions, public, secret, signing  # libsodium: it refuses the keys and signatures of SIG-5
b64 = lambda data: base64.b64encode(data).decode()
b64url = lambda data: base64.urlsafe_b64encode(data).rstrip(b"=").decode()
sha256 = lambda data: hashlib.sha256(data.encode() if isinstance(data, str) else data).digest()
host_of = lambda url: urllib.parse.urlsplit(url).netloc
json_of = lambda frame, *without: json.dumps({k: frame[k] for k in frame if k not in without}, separators=(",", ":"))
bound = lambda room, frame, *without: f"unibus-frame-v1\n{room['id']}\n{json_of(frame, *without)}"
verify = lambda sign_pub, text, sig: signing.VerifyKey(bytes.fromhex(sign_pub)).verify(text.encode(), unb64(sig))
def expect(holds, what):
    if not holds: raise ValueError(what)
def unb64(text):
    expect(b64(data := base64.b64decode(text, validate=True)) == text, "base64 is not canonical")
    return data

url, file, subject, *texts = sys.argv[1:]
identity = {name: unb64(value) for name, value in json.load(open(file)).items()}
pub, kex = identity["sign_pub"], public.PrivateKey(identity["kex_priv"])
me, raw = b64url(sha256(pub)), bytes([0xA0]) + pub
nkey = base64.b32encode(raw + binascii.crc_hqx(raw, 0).to_bytes(2, "little")).decode().rstrip("=")
sign = lambda *lines: signing.SigningKey(identity["sign_priv"][:32]).sign("\n".join(lines).encode()).signature
FRAME = re.compile(  # the grammar of docs/protocol/frames.md, where n, p and sig are required; unb64 checks these three
    r'\{"t":[0-6],"s":"[\w.-]+","from":"[\w-]{43}","id":"ULID","e":[1-9]\d{0,9},"n":"[\w+/]{32}","p":"[\w+/=]+"(,"b":\{'
    r'"h":"[0-9a-f]{64}","n":"[A-Za-z0-9+/]{32}","sz":(0|[1-9]\d{0,7})\})?,"sig":"[\w+/=]{88}"(,"thr":"ULID")?'
    r'(,"re":"ULID")?\}'.replace("ULID", "[0-7][0-9A-HJKMNP-TV-Z]{25}"), re.ASCII)
LINE = re.compile(r"[\w-]{43} [0-9a-f]{64} [0-9a-f]{64} (owner|member) [1-9]\d{0,9} (0|[1-9]\d{0,9})", re.ASCII)

def call(method, target):  # this peer sends no bodies
    host, ts, nonce, body = host_of(url), str(int(time.time())), b64(secrets.token_bytes(16)), sha256("").hex()
    sig = b64(sign("unibus-request-v1", host, method, target, ts, nonce, body))
    head = {"Host": host, "Pub": pub.hex(), "Ts": ts, "Nonce": nonce, "Body": body, "Sig": sig}
    request = urllib.request.Request(url + target, headers={f"X-Unibus-{k}": v for k, v in head.items()}, method=method)
    with urllib.request.urlopen(request, timeout=10) as reply: return json.loads(reply.read() or "null")

def read_room(room_id):
    statements, more, old, hash_of_old, checks = [], True, None, "0" * 64, {}
    while more:
        page = call("GET", f"/rooms/{room_id}/statements?from={len(statements) + 1}")
        statements, more = statements + page["statements"], page["more"] and page["statements"]
    for version, one in enumerate(statements, 1):  # ROOM-16
        new = _, _, _, _, _, _, epoch, check, owners, members = one["text"].split("\n")
        expect(new[:6] == ["unibus-room-v1", room_id, str(version), hash_of_old, subject, "111"], "broken chain")
        expect(one["by"] in (old[8].split(",") if old else [owners]), "not signed by an owner")
        verify(one["by"], one["text"], one["sig"])
        is_next = old and int(epoch) == int(old[6]) + 1 and check != old[7]
        expect(is_next or (new[6:8] == old[6:8] if old else epoch == "1"), "wrong epoch or key_check")
        checks[int(epoch)], old, hash_of_old = check, new, sha256(one["text"]).hex()
    reply = call("GET", f"/rooms/{room_id}/members")
    if reply["version"] != len(statements): return read_room(room_id)  # the room changed between the two reads
    stays = sorted(reply["members"], key=lambda one: (one["endpoint"], one["since"]))
    lines = [" ".join(str(one[name]) for name in "endpoint sign_pub kex_pub role since until".split()) for one in stays]
    expect(all(map(LINE.fullmatch, lines)), "a member is not one line")  # ROOM-17
    expect(sha256("".join(f"{line}\n" for line in lines)).hex() == members, "not the members of the statement")
    for one in stays:  # ROOM-18
        expect(b64url(sha256(bytes.fromhex(one["sign_pub"]))) == one["endpoint"], "endpoint of another key")
        verify(one["sign_pub"], f"unibus-keys-v1\n{one['sign_pub']}\n{one['kex_pub']}", one["kex_sig"])
    return {"id": room_id, "epoch": int(epoch), "checks": checks, "stays": stays, "keys": {}}

def key_of(room, epoch):
    if epoch not in room["keys"]:
        sealed = call("GET", f"/rooms/{room['id']}/key?epoch={epoch}")["sealed_key"]
        key = room["keys"][epoch] = public.SealedBox(kex).decrypt(unb64(sealed))
        check = sha256(f"unibus-key-v1\n{room['id']}\n{epoch}\n".encode() + key).hex()
        if check != room["checks"][epoch]: sys.exit("room_forked: not the key that the owners signed")  # ROOM-7
    return room["keys"][epoch]

def seal(room, data):
    bits, n = int(time.time() * 1000) << 80 | secrets.randbits(80), secrets.token_bytes(24)
    ulid = "".join("0123456789ABCDEFGHJKMNPQRSTVWXYZ"[bits >> shift & 31] for shift in range(125, -1, -5))
    frame = {"t": 0, "s": subject, "from": me, "id": ulid, "e": room["epoch"], "n": b64(n)}
    frame["p"] = b64(secret.Aead(key_of(room, room["epoch"])).encrypt(data, bound(room, frame).encode(), n).ciphertext)
    return ulid, json_of({**frame, "sig": b64(sign(bound(room, frame)))}).encode()

def open_frame(room, data):  # the steps of docs/protocol/frames.md
    expect(len(data) <= 1 << 20 and FRAME.fullmatch(data.decode()), "not_canonical")
    frame = json.loads(data)
    n, p, _ = (unb64(frame[name]) for name in ("n", "p", "sig"))
    expect(frame["s"] == subject, "wrong_subject")
    keys = [one["sign_pub"] for one in room["stays"] if one["endpoint"] == frame["from"]
            and one["since"] <= frame["e"] < (one["until"] or 1 << 31)]
    if not keys or frame["e"] > room["epoch"]: raise LookupError("not_a_member or epoch_ahead")
    verify(keys[0], bound(room, frame, "sig"), frame["sig"])
    return frame, secret.Aead(key_of(room, frame["e"])).decrypt(p, bound(room, frame, "p", "sig").encode(), n)

def show(room, seen, where, data):  # True: of a member or an epoch that is not known yet
    try: frame, payload = open_frame(room, data); kind, _, body = envelope.read(payload, frame["t"])
    except LookupError: return True
    except (ValueError, OSError, exceptions.CryptoError) as error: return print("dropped", error)
    if (key := (frame["from"], frame["id"])) not in seen: print(where, key[0], kind, body.decode(errors="replace"))
    seen.add(key)

async def main():
    rooms, seen = {one["subject"]: one["room_id"] for one in call("GET", f"/members/{me}/rooms")}, set()
    print("rooms", *rooms)
    room = read_room(rooms[subject])
    call("PUT", f"/rooms/{room['id']}/accept")  # before the login: LOGIN-6
    server, client = (call("GET", "/info")["nats"] or sys.exit("/info has no nats (use serve --nats)"))[0], nats.NATS()
    client._public_nkey = nkey  # the library sets it only from a seed
    def login(nonce):
        expect(re.fullmatch("[A-Za-z0-9_-]{15,64}", nonce), "not a nonce")  # LOGIN-2
        return b64url(sign("unibus-nats-v2", host_of(server), nonce)).encode()
    await client.connect(server, signature_cb=login, inbox_prefix=f"_INBOX.{me}.a.{secrets.token_hex(16)}")
    live = await client.subscribe(subject)  # before the history is read, so that nothing is missed
    await client.flush()
    history = call("GET", f"/rooms/{room['id']}/history?limit=1000")["messages"]
    for message in history: show(room, seen, "history", unb64(message))
    for ulid, frame in [seal(room, envelope.write({}, text.encode())) for text in texts]:
        ack = json.loads((await client.request(subject, frame, 5, headers={"Nats-Msg-Id": f"{me}.{ulid}"})).data)
        print("acked", ack["seq"] if ack.get("stream") == f"UNIBUS_{room['id']}" else sys.exit(f"not stored: {ack}"))
    async for message in live.messages:
        if show(room, seen, "live", message.data):  # FRAME-12: at most one read a second
            await asyncio.sleep(1)
            show(room := read_room(room["id"]), seen, "live", message.data)
asyncio.run(main())
