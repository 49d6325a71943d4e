# A web server and its client in one program, over loopback.
import http.server, threading, urllib.request

class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello")
    def log_message(self, *_): pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hello)
threading.Thread(target=server.serve_forever, daemon=True).start()
answer = urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/", timeout=10)
print(answer.status, answer.read().decode())
server.shutdown()
