#!/usr/bin/env python3
"""Gives a Postgres TLS that its build lacks: agrees to encrypt, and passes everything on to a plain one.

  pg_tls.py HOST:PORT CERTIFICATE KEY      prints the port it listens on; ends with its standard input"""
import socket, ssl, struct, sys, threading

host, port = sys.argv[1].rsplit(":", 1)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2], sys.argv[3])


def pass_on(one, other):
    try:
        while data := one.recv(65536):
            other.sendall(data)
    except OSError:
        pass
    for line in (one, other):
        try:
            line.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def serve(line):
    try:
        head = line.recv(8, socket.MSG_PEEK | socket.MSG_WAITALL)
        if head == struct.pack("!II", 8, 80877103):
            line.recv(8)
            line.sendall(b"S")
            line = context.wrap_socket(line, server_side=True)
    except OSError:
        return line.close()
    server = socket.create_connection((host, int(port)))
    threading.Thread(target=pass_on, args=(server, line), daemon=True).start()
    pass_on(line, server)


listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)


def accept():
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


threading.Thread(target=accept, daemon=True).start()
sys.stdin.read()
