"""A member of one encrypted, persisted and signed room, written from docs/protocol. Needs PyNaCl and nats-py.

It stores no state: an older statement than before deceives a new run, not one that has seen a newer one (ROOM-20).
"""
import asyncio, base64, binascii, hashlib, json, re, secrets, sys, time, urllib.error, urllib.parse, urllib.request
import nats, unibus_envelope as envelope
from nacl import exceptions, public, secret, signing  # libsodium: it refuses the keys and signatures of SIG-5

b64 = lambda data: base64.b64encode(data).decode()
b64url = lambda data: base64.urlsafe_b64encode(data).rstrip(b"=").decode()
sha256 = lambda data: hashlib.sha256(data.encode() if isinstance(data, str) else data).digest()
host_of = lambda url: urllib.parse.urlsplit(url).netloc
json_of = lambda frame, *without: json.dumps({k: frame[k] for k in frame if k not in without}, separators=(",", ":"))
verify = lambda sign_pub, text, sig: signing.VerifyKey(bytes.fromhex(sign_pub)).verify(text.encode(), unb64(sig))
FRAME = re.compile(  # the grammar of docs/protocol/frames.md, where n, p and sig are required; unb64 checks these three
    r'\{"t":[0-6],"s":"[\w.-]+","from":"[\w-]{43}","id":"ULID","e":[1-9]\d{0,9},"n":"[\w+/]{32}","p":"[\w+/=]+"(,"b":\{'
    r'"h":"[0-9a-f]{64}","n":"[A-Za-z0-9+/]{32}","sz":(0|[1-9]\d{0,7})\})?,"sig":"[\w+/=]{88}"(,"thr":"ULID")?'
    r'(,"re":"ULID")?\}'.replace("ULID", "[0-7][0-9A-HJKMNP-TV-Z]{25}"), re.ASCII)
LINE = re.compile(r"[\w-]{43} [0-9a-f]{64} [0-9a-f]{64} (owner|member) [1-9]\d{0,9} (0|[1-9]\d{0,9})", re.ASCII)

def expect(holds, what, error=ValueError):
    if not holds: raise error(what)
async def note(error): print(error, file=sys.stderr)
def unb64(text):
    expect(b64(data := base64.b64decode(text, validate=True)) == text, "base64 is not canonical")
    return data

class Peer:
    def __init__(self, url, file, subject):
        identity = {name: unb64(value) for name, value in json.load(open(file)).items()}
        self.url, self.subject, self.pub, self.hashes, self.epoch = url, subject, identity["sign_pub"], [], 0
        self.me, raw = b64url(sha256(self.pub)), bytes([0xA0]) + self.pub
        self.nkey = base64.b32encode(raw + binascii.crc_hqx(raw, 0).to_bytes(2, "little")).decode().rstrip("=")
        key, self.kex = signing.SigningKey(identity["sign_priv"][:32]), public.PrivateKey(identity["kex_priv"])
        self.sign = lambda *lines: key.sign("\n".join(lines).encode()).signature
        self.rooms = {one["subject"]: one["room_id"] for one in self.call("GET", f"/members/{self.me}/rooms")}
        expect(subject in self.rooms, f"not a member of {subject} (ask an owner to add you)", PermissionError)
        self.id, self.heads, self.chain = self.rooms[subject], {}, secrets.token_bytes(8)
        self.number, self.previous, self.void, self.stored = 0, bytes(16), [], None  # of our chain: HIST-13 to HIST-15
        self.read_room()

    def call(self, method, target):  # this peer sends no bodies
        host, ts, nonce, body = host_of(self.url), str(int(time.time())), b64(secrets.token_bytes(16)), sha256("").hex()
        sig = b64(self.sign("unibus-request-v1", host, method, target, ts, nonce, body))
        head = {"Host": host, "Pub": self.pub.hex(), "Ts": ts, "Nonce": nonce, "Body": body, "Sig": sig}
        headers = {f"X-Unibus-{name}": value for name, value in head.items()}
        request = urllib.request.Request(self.url + target, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as reply: return json.loads(reply.read() or "null")
        except urllib.error.HTTPError as error:
            expect(error.code not in (401, 403, 404, 410), error.read().decode(), PermissionError)
            raise

    def read_room(self):
        statements, more, old, hashes, checks = [], True, None, ["0" * 64], {}
        while more:
            page = self.call("GET", f"/rooms/{self.id}/statements?from={len(statements) + 1}")
            statements, more = statements + page["statements"], page["more"] and page["statements"]
        for version, one in enumerate(statements, 1):  # ROOM-16
            new = _, _, _, _, _, _, epoch, check, owners, members = one["text"].split("\n")
            is_chain = new[:6] == ["unibus-room-v1", self.id, str(version), hashes[-1], self.subject, "111"]
            expect(is_chain, "broken chain, or not a room that is encrypted, persisted and signed")
            expect(one["by"] in (old[8].split(",") if old else [owners]), "not signed by an owner")
            verify(one["by"], one["text"], one["sig"])
            is_next = old and int(epoch) == int(old[6]) + 1 and check != old[7]
            expect(is_next or (new[6:8] == old[6:8] if old else epoch == "1"), "wrong epoch or key_check")
            checks[int(epoch)], old = check, new
            hashes.append(sha256(one["text"]).hex())
        expect(hashes[:len(self.hashes)] == self.hashes, "room_forked: not the statements that were read before")
        reply = self.call("GET", f"/rooms/{self.id}/members")
        if reply["version"] != len(statements): return self.read_room()  # the room changed between the two reads
        stays = sorted(reply["members"], key=lambda one: (one["endpoint"], one["since"]))
        names = "endpoint sign_pub kex_pub role since until".split()
        lines = [" ".join(str(one[name]) for name in names) for one in stays]
        expect(all(map(LINE.fullmatch, lines)), "a member is not one line")  # ROOM-17
        expect(sha256("".join(f"{line}\n" for line in lines)).hex() == members, "not the members of the statement")
        for one in stays:  # ROOM-18
            expect(b64url(sha256(bytes.fromhex(one["sign_pub"]))) == one["endpoint"], "endpoint of another key")
            verify(one["sign_pub"], f"unibus-keys-v1\n{one['sign_pub']}\n{one['kex_pub']}", one["kex_sig"])
        self.read_at = time.monotonic()
        if int(epoch) != self.epoch: self.epoch_at = self.read_at
        self.epoch, self.checks, self.stays, self.hashes, self.keys = int(epoch), checks, stays, hashes, {}

    def key_of(self, epoch):
        if epoch not in self.keys:
            sealed = self.call("GET", f"/rooms/{self.id}/key?epoch={epoch}")["sealed_key"]
            key = public.SealedBox(self.kex).decrypt(unb64(sealed))
            check = sha256(f"unibus-key-v1\n{self.id}\n{epoch}\n".encode() + key).hex()
            if check != self.checks[epoch]: sys.exit("room_forked: not the key that the owners signed")  # ROOM-7
            self.keys[epoch] = secret.Aead(key)
        return self.keys[epoch]

    def bound(self, frame, *without): return f"unibus-frame-v1\n{self.id}\n{json_of(frame, *without)}"

    def seal(self, payload, **links):  # links: thr and re, in this order
        bits, n = int(time.time() * 1000) << 80 | secrets.randbits(80), secrets.token_bytes(24)
        ulid = "".join("0123456789ABCDEFGHJKMNPQRSTVWXYZ"[bits >> shift & 31] for shift in range(125, -1, -5))
        head = {"t": 0, "s": self.subject, "from": self.me, "id": ulid, "e": self.epoch, "n": b64(n)}
        aad = self.bound({**head, **links}).encode()
        head["p"] = b64(self.key_of(self.epoch).encrypt(payload, aad, n).ciphertext)
        return ulid, json_of({**head, "sig": b64(self.sign(self.bound({**head, **links}))), **links}).encode()

    def open(self, data, is_live):  # the steps of docs/protocol/frames.md
        expect(len(data) <= 1 << 20 and FRAME.fullmatch(data.decode()), "not_canonical")
        frame = json.loads(data)
        n, p, _ = (unb64(frame[name]) for name in ("n", "p", "sig"))
        expect(frame["s"] == self.subject, "wrong_subject")
        keys = [one["sign_pub"] for one in self.stays if one["endpoint"] == frame["from"]
                and one["since"] <= frame["e"] < (one["until"] or 1 << 31)]
        expect(keys and frame["e"] <= self.epoch, "not_a_member or epoch_ahead", LookupError)
        expect(frame["e"] == self.epoch or not is_live or time.monotonic() < self.epoch_at + 60, "old_epoch")
        verify(keys[0], self.bound(frame, "sig"), frame["sig"])
        payload = self.key_of(frame["e"]).decrypt(p, self.bound(frame, "p", "sig").encode(), n)
        kind, fields, body = envelope.read(payload, frame["t"])
        who, (newest, _) = frame["from"], self.heads.get(frame["from"], ("", None))
        if "chain" in fields and who != self.me and frame["id"] > newest:
            self.heads[who] = frame["id"], (*fields["chain"][:2], sha256(data)[:16])
            if len(self.heads) > 3: del self.heads[min(self.heads, key=self.heads.get)]
        return frame, kind, fields, body

    def receive(self, data, is_live):  # the frame, its kind, fields and body; None if it is dropped
        for is_last in (not is_live, True):
            try: return self.open(data, is_live)
            except LookupError as error:  # of a member or an epoch that is not known yet
                if is_last: return print("dropped", error)
            except (ValueError, PermissionError, exceptions.CryptoError) as error: return print("dropped", error)
            time.sleep(1)  # FRAME-12: at most one read a second
            self.read_room()

    async def enter(self):  # a connection, and its subscription to the room
        self.call("PUT", f"/rooms/{self.id}/accept")  # before the login: LOGIN-6
        failed, inbox = [], f"_INBOX.{self.me}.a.{secrets.token_hex(16)}"
        for server in self.call("GET", "/info")["nats"]:
            def login(nonce):
                expect(re.fullmatch("[A-Za-z0-9_-]{15,64}", nonce), "not a nonce")  # LOGIN-2
                return b64url(self.sign("unibus-nats-v2", host_of(server), nonce)).encode()
            lost = asyncio.get_running_loop().create_future()
            async def closed(lost=lost): lost.done() or lost.set_result(None)
            try:
                expect(server.startswith("tls:") or self.url.startswith("http:"), "not encrypted")  # REQ-1
                client = nats.NATS()
                client._public_nkey = self.nkey  # the library sets it only from a seed
                await client.connect(
                    server, signature_cb=login, inbox_prefix=inbox, error_cb=note, closed_cb=closed, ping_interval=20,
                    allow_reconnect=False, max_reconnect_attempts=1, reconnect_time_wait=0)
                live = await client.subscribe(self.subject)  # before the history is read: HIST-12
                await client.flush()
                self.lost = lost
                return client, live
            except (OSError, ValueError, asyncio.TimeoutError, nats.errors.Error) as error:
                failed.append(f"{server}: {error}")
        raise ConnectionError(f"no NATS address of /info works (is one set with serve --nats?) {failed}")

    async def publish(self, client, header, body, **links):  # the sequence number, once the message is stored
        heads = ([self.stored] if self.stored else []) + [head for _, head in self.heads.values()]
        place = {"chain": (self.chain, self.number, self.previous), "heads": heads, "void": self.void[:16],
                 "statement": (len(self.hashes) - 1, bytes.fromhex(self.hashes[-1])[:16])}
        header = {**header, **{name: value for name, value in place.items() if value}}
        ulid, frame = self.seal(envelope.write(header, body), **links)
        number, self.number, self.previous = (self.number,), self.number + 1, sha256(frame)[:16]
        declared, self.void = self.void[:16], self.void[16:]
        try:
            headers = {"Nats-Msg-Id": f"{self.me}.{ulid}"}
            asked = asyncio.ensure_future(client.request(self.subject, frame, 5, headers=headers))
            await asyncio.wait({asked, self.lost}, return_when=asyncio.FIRST_COMPLETED)
            if not asked.done():
                asked.cancel()
                raise ConnectionError("the connection broke")
            ack = json.loads(asked.result().data)
            is_stored = ack.get("stream") == f"UNIBUS_{self.id}" and "error" not in ack and not ack.get("duplicate")
            expect(is_stored, f"not stored: {ack}", nats.errors.Error)  # HIST-1, HIST-2
        except BaseException:
            self.void += [number, *declared]  # HIST-14: this peer does not send it again
            raise
        if not self.void: self.stored = self.chain, *number, self.previous
        return ack["seq"]
