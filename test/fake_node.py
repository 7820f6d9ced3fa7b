#!/usr/bin/python3
"""fake_node.py ADDRESS PORT CERT_DIR FOLDER: a node API that behaves as badly as a test wants.

FOLDER/answers.json maps "METHOD /path" to an answer (a list: one a request, the last stays):
  {"status": 200, "json": …}       a document            {"text": "…", "type": "…"}  any text
  {"headers": {"Retry-After": "1"}} more headers         {"huge": BYTES}             that much body
  {"hang": true}                   no answer             {"drop": true}              connection lost
"bulk" as the answer accepts messages: {"bulk": {"busy": ["receiver", N], "drop": N, …}}; the ids
that it accepted stand in FOLDER/accepted, one a line. Each request is a line of FOLDER/requests.
"""
import http.server
import json
import pathlib
import ssl
import sys
import threading
import time
import urllib.parse

ADDRESS, PORT, CERTS, FOLDER = sys.argv[1], int(sys.argv[2]), sys.argv[3], pathlib.Path(sys.argv[4])
LOCK = threading.Lock()
SERVED = {}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def choose(self, key):
        answers = json.loads((FOLDER / "answers.json").read_text())
        answer = answers.get(key, {"status": 404, "json": error("not_found", f"{key}: not here")})
        if isinstance(answer, list):
            with LOCK:
                number = SERVED[key] = SERVED.get(key, 0) + 1
            answer = answer[min(number, len(answer)) - 1]
        return answer

    def send(self, status, body, kind, headers):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def serve(self):
        size = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(size)
        url = urllib.parse.urlsplit(self.path)
        key = f"{self.command} {url.path}"
        with LOCK, open(FOLDER / "requests", "a", encoding="utf-8") as log:
            log.write(json.dumps({"key": key, "query": url.query, "body": body.decode()}) + "\n")
        answer = self.choose(key)
        if "bulk" in answer:
            answer = accept(body.decode(), answer["bulk"])
        if answer.get("hang"):
            time.sleep(60)
        if answer.get("hang") or answer.get("drop"):
            self.close_connection = True
            self.connection.close()
            return
        kind = answer.get("type", "application/json")
        if "huge" in answer:
            self.send_response(200)
            self.send_header("Content-Length", str(answer["huge"]))
            self.end_headers()
            chunk, left = b"x" * 65536, answer["huge"]
            try:
                while left > 0:
                    self.wfile.write(chunk[: min(left, len(chunk))])
                    left -= len(chunk)
            except OSError:
                self.close_connection = True
            return
        text = answer.get("text")
        content = text.encode() if text is not None else json.dumps(answer.get("json", {})).encode()
        self.send(answer.get("status", 200), content, kind, answer.get("headers", {}))

    do_GET = do_POST = do_PUT = do_DELETE = serve


def error(code, message):
    return {"error": {"code": code, "message": message, "hint": "", "exit": 0}}


def accept(body, rules):
    """Takes an NDJSON batch; `busy` refuses a receiver's messages the first N times, `drop` takes the
    first N batches and loses the answer."""
    known = FOLDER / "accepted"
    with LOCK:
        seen = set(known.read_text().split()) if known.exists() else set()
        SERVED["batches"] = SERVED.get("batches", 0) + 1
        results = []
        for line in body.splitlines():
            message = json.loads(line)
            receiver, message_id = message["receiver"], message["message_id"]
            busy = rules.get("busy", [None, 0])
            if receiver == busy[0] and SERVED["batches"] <= busy[1]:
                results.append({"message_id": message_id, **error("busy", "the queue is full")})
            elif receiver in rules.get("unknown", []):
                results.append({"message_id": message_id, **error("not_found", "no such agent")})
            else:
                results.append({"message_id": message_id, "status": "accepted",
                                "duplicate": message_id in seen})
                if message_id not in seen:
                    seen.add(message_id)
                    with open(known, "a", encoding="utf-8") as file:
                        file.write(message_id + "\n")
    if SERVED["batches"] <= rules.get("drop", 0):
        return {"drop": True}
    text = "".join(json.dumps(result) + "\n" for result in results)
    return {"text": text, "type": "application/x-ndjson"}


def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(f"{CERTS}/node.crt", f"{CERTS}/node.key")
    context.load_verify_locations(f"{CERTS}/ca.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    server = http.server.ThreadingHTTPServer((ADDRESS, PORT), Handler)
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


main()
