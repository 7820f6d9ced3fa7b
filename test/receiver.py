#!/usr/bin/python3
"""receiver.py http|smtp ADDRESS PORT FOLDER: takes what cx-health's actions send.

Each request is a line of FOLDER/received: {"path", "headers", "body"}; each mail {"from", "to",
"mail"}; and "at", when it came (seconds since 1970). It answers the status in
FOLDER/status (else 200), and then does not keep what came, and as many bytes as FOLDER/answer says (else 2).
"""
import http.server
import json
import pathlib
import socketserver
import sys
import threading
import time

KIND, ADDRESS, PORT, FOLDER = sys.argv[1], sys.argv[2], int(sys.argv[3]), pathlib.Path(sys.argv[4])
LOCK = threading.Lock()


def keep(entry):
    with LOCK, open(FOLDER / "received", "a", encoding="utf-8") as file:
        file.write(json.dumps(entry | {"at": time.time()}) + "\n")


def wanted_status():
    path = FOLDER / "status"
    return int(path.read_text()) if path.exists() else 200


def answer_size():
    path = FOLDER / "answer"
    return int(path.read_text()) if path.exists() else 2


class Web(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status = wanted_status()
        if status < 300:
            keep({"path": self.path, "headers": {k.lower(): v for k, v in self.headers.items()},
                  "body": json.loads(body)})
        self.send_response(status)
        self.send_header("Content-Length", str(answer_size()))
        self.end_headers()
        self.wfile.write(b"k" * answer_size())


class Mail(socketserver.StreamRequestHandler):
    def say(self, text):
        self.wfile.write(text.encode() + b"\r\n")

    def handle(self):
        sender, to = "", []
        self.say("220 receiver")
        while line := self.rfile.readline().decode().rstrip("\r\n"):
            word = line.split(":")[0].split(" ")[0].upper()
            if word == "MAIL":
                sender, to = line.split(":", 1)[1].split(" ")[0], []
            elif word == "RCPT":
                address = line.split(":", 1)[1].split(" ")[0]
                if address.startswith("<gone"):
                    self.say("550 no such mailbox")
                    continue
                to.append(address)
            elif word == "QUIT":
                self.say("221 bye")
                return
            elif word == "DATA":
                self.say("354 go on")
                mail = b""
                while not mail.endswith(b"\r\n.\r\n"):
                    mail += self.rfile.readline()
                if wanted_status() == 200:
                    keep({"from": sender, "to": to, "mail": mail.decode()})
                else:
                    self.say("451 not now")
                    continue
            self.say("250 ok")


class Threads(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


server = (http.server.ThreadingHTTPServer if KIND == "http" else Threads)(
    (ADDRESS, PORT), Web if KIND == "http" else Mail)
server.serve_forever()
