"""A bot in Python: python-bot.py URL IDENTITY SUBJECT

Answers each text in a room once: change `answer`. Needs unibus_peer.py and what that needs.
"""
import asyncio, http.client, random, sys, time
from datetime import datetime, timezone
import nats
from unibus_peer import Peer, unb64

def answer(text): return f"{len(text.split())} words"  # None: say nothing

class Bot(Peer):
    answered, heard_at = {}, time.time()  # ids; when it had answered all until then

    def missed(self):  # what the bus stored since then
        since = datetime.fromtimestamp(self.heard_at, timezone.utc)
        found, page = [], since.strftime("since=%Y-%m-%dT%H:%M:%S.%fZ")
        while page:
            reply = self.call("GET", f"/rooms/{self.id}/history?limit=1000&{page}")
            found, page = found + reply["messages"], reply["more"] and f"after={reply['last_seq']}"
        self.read_room()  # now it knows the members and keys of all of them
        return [message for data in found if (message := self.receive(unb64(data), is_live=False))]

    async def respond(self, client, frame, kind, fields, body):
        hops = fields.get("hops", 0)  # how many automatic answers led here: bots stop at 8
        is_own, is_done = frame["from"] == self.me, frame["id"] in self.answered
        if kind != "text" or hops >= 8 or is_own or is_done: return
        if (text := answer(body.decode(errors="replace"))) is not None:
            if time.monotonic() - self.read_at > 60: self.read_room()  # no key long after a kick
            links = {"thr": frame.get("thr", frame["id"]), "re": frame["id"]}
            await self.publish(client, {"hops": hops + 1}, text.encode(), **links)
        self.answered[frame["id"]] = True
        if len(self.answered) > 65536: del self.answered[next(iter(self.answered))]

    async def work(self, client, live):
        missed = self.missed()
        own = [frame for frame, *_ in missed if frame["from"] == self.me]
        self.answered.update({frame["re"]: True for frame in own if "re" in frame})
        for message in missed: await self.respond(client, *message)
        print("answering in", self.subject, flush=True)
        async for data in live.messages:
            if found := self.receive(data.data, is_live=True): await self.respond(client, *found)
            if not live.pending_msgs: self.heard_at = max(self.heard_at, time.time() - 60)

async def main(url, file, subject):
    bot, wait = Bot(url, file, subject), 0.1
    trouble = (OSError, http.client.HTTPException, nats.errors.Error, asyncio.TimeoutError)
    while True:
        started = time.monotonic()
        try:
            client, live = await bot.enter()
            async with client: await bot.work(client, live)
        except PermissionError: raise  # not a member any more, or not a user
        except trouble as error: print("trouble:", error, file=sys.stderr)
        await asyncio.sleep(wait * random.uniform(1, 2))
        wait = min(wait * 2, 5) if time.monotonic() < started + 60 else 0.1

try: asyncio.run(main(*sys.argv[1:]))
except KeyboardInterrupt: pass
except PermissionError as error: sys.exit(str(error))
