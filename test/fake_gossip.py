#!/usr/bin/python3
"""fake_gossip.py SOCKET FOLDER NODE_ID: a stand-in for a cx-gossip agent.

Agents of one FOLDER are one cluster: each keeps its member in FOLDER/NODE_ID.json and sees those of
the others at once. A test changes what all see by writing "status" into such a file.
"""
import json
import os
import pathlib
import socketserver
import sys
import time

SOCKET, FOLDER, NODE_ID = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]


def read_members():
    members = []
    for path in sorted(FOLDER.glob("*.json")):
        try:
            members.append(json.loads(path.read_text()))
        except ValueError:
            pass
    return members


def write_tags(tags):
    path = FOLDER / f"{NODE_ID}.json"
    member = {"node_id": NODE_ID, "addr": "127.0.0.1:1", "status": "alive", "tags": {}}
    if path.exists():
        member = json.loads(path.read_text())
    member["tags"].update(tags)
    new = FOLDER / f".{NODE_ID}.new"
    new.write_text(json.dumps(member))
    os.rename(new, path)


class Handler(socketserver.StreamRequestHandler):
    def say(self, document):
        self.wfile.write((json.dumps(document) + "\n").encode())
        self.wfile.flush()

    def monitor(self):
        self.say({"ok": True})
        before = read_members()
        while True:
            time.sleep(0.02)
            members = read_members()
            if members != before:
                before = members
                self.say({"event": "member_updated"})

    def handle(self):
        for line in self.rfile:
            request = json.loads(line)
            if request["command"] == "monitor":
                self.monitor()
            elif request["command"] == "members":
                members = read_members()
                self.say({"members": members, "count": len(members), "digest": "0"})
            elif request["command"] == "status":
                self.say({"node_id": NODE_ID, "partition": "majority"})
            elif request["command"] == "tags_set":
                write_tags(request["tags"])
                self.say({"changed": True})
            else:
                self.say({"error": {"code": "usage", "message": "no such command", "exit": 64}})


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass


if __name__ == "__main__":
    write_tags({})
    with Server(SOCKET, Handler) as server:
        server.serve_forever()
