"""A unibus peer in Python: python-peer.py URL IDENTITY SUBJECT [TEXT...]

Lists your rooms, verifies the room SUBJECT, prints its history, sends each TEXT, and prints what arrives.
"""
import asyncio, sys
from unibus_peer import Peer, unb64

async def main(url, file, subject, *texts):
    peer, seen = Peer(url, file, subject), set()
    print("rooms", *peer.rooms)

    def show(where, data):
        if (message := peer.receive(data, is_live=where == "live")) is None: return
        frame, kind, _, body = message
        if (key := (frame["from"], frame["id"])) not in seen: print(where, key[0], kind, body.decode(errors="replace"))
        seen.add(key)

    client, live = await peer.enter()
    for data in peer.call("GET", f"/rooms/{peer.id}/history?limit=1000")["messages"]: show("history", unb64(data))
    for text in texts: print("acked", await peer.publish(client, {}, text.encode()))
    async for message in live.messages: show("live", message.data)

asyncio.run(main(*sys.argv[1:]))
