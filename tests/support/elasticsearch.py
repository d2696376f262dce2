"""A stand-in for Elasticsearch 9.2 before a real OpenSearch: its dialect, written after its documentation. It is no
Elasticsearch: what documents are, how they are counted, sorted and found is OpenSearch's.

    elasticsearch.py ADDRESS [--forget N] [--forget-at N] [--unnumbered] [--tls CERT KEY]
                        prints its port; every Nth search, or the Nth alone, finds that its state is gone; indices without
                        sequence numbers; with TLS, by these PEM files

Vectors are left out of `_source` unless a search says `exclude_vectors: false`; a login is wanted: elastic, secret.
"""
import base64, json, ssl, sys, threading, urllib.error, urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

behind = sys.argv[1]
forget = int(sys.argv[sys.argv.index("--forget") + 1]) if "--forget" in sys.argv else 0
forget_at = int(sys.argv[sys.argv.index("--forget-at") + 1]) if "--forget-at" in sys.argv else 0
unnumbered = "--unnumbered" in sys.argv
login = "Basic " + base64.b64encode(b"elastic:secret").decode()
searches, lock = 0, threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def say(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Elastic-Product", "Elasticsearch")
        self.end_headers()
        self.wfile.write(data)

    def wrong(self, status, kind, reason):
        self.say(status, {"error": {"root_cause": [], "type": kind, "reason": reason}, "status": status})

    def ask(self, method, path, body):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(behind + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def handle_any(self):
        global searches
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length)) if length else None
        if self.headers.get("Authorization") != login:
            return self.wrong(401, "security_exception", "unable to authenticate user")
        path, _, query = self.path.partition("?")
        if path == "/":
            return self.say(200, {"name": "n", "version": {"number": "9.2.1", "build_flavor": "default"}, "tagline": "You Know, for Search"})
        if "point_in_time" in path:
            return self.wrong(400, "illegal_argument_exception", "no handler found for uri")
        if path.endswith("/_pit"):
            if self.command == "DELETE":
                status, answer = self.ask("DELETE", "/_search/point_in_time", {"pit_id": [body["id"]]})
                return self.say(status, {"succeeded": status == 200, "num_freed": 1})
            status, answer = self.ask("POST", path[:-5] + "/_search/point_in_time?" + query, None)
            return self.say(status, {"id": answer["pit_id"]} if status == 200 else answer)
        if path == "/_search":
            asks = isinstance(body.get("_source"), dict) and body["_source"].pop("exclude_vectors", True) is False
            if body.get("_source") == {}:
                del body["_source"]
            with lock:
                searches += 1
                gone = forget and searches % forget == 0 or searches == forget_at
            if gone:
                return self.wrong(404, "search_phase_execution_exception", "No search context found for id [7]")
            if unnumbered and "_seq_no" in json.dumps(body):
                return self.wrong(400, "search_phase_execution_exception", "sequence numbers are disabled")
            # OpenSearch's name for the order of a shard's documents.
            body["sort"] = [{{"_shard_doc": "_doc"}.get(name, name): order for name, order in sort.items()} for sort in body["sort"]]
            status, answer = self.ask("POST", self.path, body)
            if not asks:
                for hit in answer.get("hits", {}).get("hits", []):
                    hit.get("_source", {}).pop("v", None)
            return self.say(status, answer)
        status, answer = self.ask(self.command, self.path, body)
        # Its own name for such a field.
        text = json.dumps(answer).replace('"knn_vector"', '"dense_vector"').replace('"dimension"', '"dims"')
        answer = json.loads(text)
        if unnumbered and "/_settings" in path:
            for index in answer.values():
                index["settings"]["index.disable_sequence_numbers"] = "true"
        return self.say(status, answer)

    do_GET = do_POST = do_DELETE = handle_any


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
if "--tls" in sys.argv:
    at = sys.argv.index("--tls")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[at + 1], sys.argv[at + 2])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
