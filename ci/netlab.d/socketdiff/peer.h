/* What a case asks of its peer, and the answer: one packet of a SOCK_SEQPACKET socket each. */
#include <stddef.h>

enum { LISTEN, ACCEPT, CONNECT, SEND, RECV, DRAIN, SHUTDOWN, CLOSE, RESET, UDP, SENDTO, RECVFROM, SET, LATER, FORGET };

struct request {
    int op, id, a, b, c, len;
    /* What is to be sent, and behind it the address of the case's side. */
    char data[1 << 16];
};

struct reply {
    long result;
    int error, len, port, ttl, tos;
    char data[1 << 16];
};

int be_peer(const char *path);
void meet_peer(const char *path);
