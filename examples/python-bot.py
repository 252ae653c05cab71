"""A bot in Python: python-bot.py URL IDENTITY SUBJECT

Answers each text in an encrypted room once: change `answer`. Needs PyNaCl and nats-py, and unibus_peer.py and
unibus_envelope.py in its folder. After an outage it answers what it missed, but not what came before it started.
"""
import asyncio, http.client, random, sys, time
from datetime import datetime, timezone
import nats
from unibus_peer import Peer, envelope, unb64

def answer(text):  # None: say nothing
    return f"{len(text.split())} words"

class Bot(Peer):
    answered, heard_at = {}, time.time()  # ids of messages; until when the bot has dealt with all of them

    def missed(self):  # what the bus stored since then
        found, page = [], datetime.fromtimestamp(self.heard_at, timezone.utc).strftime("since=%Y-%m-%dT%H:%M:%S.%fZ")
        while page:
            reply = self.call("GET", f"/rooms/{self.id}/history?limit=1000&{page}")
            found, page = found + reply["messages"], reply["more"] and f"after={reply['last_seq']}"
        self.read_room()  # now it knows the members and keys of all of them
        return [message for data in found if (message := self.receive(unb64(data), is_live=False))]

    async def respond(self, client, frame, kind, fields, body):
        hops = fields.get("hops", 0)  # of automatic answers that led to this message: bots that answer bots end at 8
        if kind != "text" or frame["from"] == self.me or hops >= 8 or frame["id"] in self.answered: return
        if (text := answer(body.decode(errors="replace"))) is not None:
            if time.monotonic() - self.read_at > 60: self.read_room()  # so that a key is never used long after a kick
            payload = envelope.write({"hops": hops + 1}, text.encode())
            await self.publish(client, payload, thr=frame.get("thr", frame["id"]), re=frame["id"])
        self.answered[frame["id"]] = True
        if len(self.answered) > 65536: del self.answered[next(iter(self.answered))]

    async def work(self, client, live):
        missed = self.missed()
        self.answered.update({frame["re"]: True for frame, *_ in missed if frame["from"] == self.me and "re" in frame})
        for message in missed: await self.respond(client, *message)
        print("answering in", self.subject, flush=True)
        async for data in live.messages:
            if message := self.receive(data.data, is_live=True): await self.respond(client, *message)
            if not live.pending_msgs: self.heard_at = max(self.heard_at, time.time() - 60)  # 60 s: clocks differ

async def main(url, file, subject):
    bot, wait = Bot(url, file, subject), 0.1
    while True:
        started = time.monotonic()
        try:
            client, live = await bot.enter()
            async with client: await bot.work(client, live)
        except PermissionError: raise  # not a member any more, or not a user
        except (OSError, http.client.HTTPException, nats.errors.Error, asyncio.TimeoutError) as error:
            print("trouble:", error, file=sys.stderr)
        wait = 0.1 if time.monotonic() > started + 60 else min(wait * 2, 5)
        await asyncio.sleep(wait * random.uniform(1, 2))

try: asyncio.run(main(*sys.argv[1:]))
except KeyboardInterrupt: pass
except PermissionError as error: sys.exit(str(error))
