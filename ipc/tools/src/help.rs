//! What `--help` says beyond the options: examples first.

pub(crate) const IOPKT: &str = "\
Examples:
  iopkt status                              is it running, with which addresses?
  iopkt run -- curl http://198.18.77.1/     a program on the stack, unmodified
  iopkt netstat -an                         its sockets
  iopkt mount -T io-pkt -o iface=iop1 net_tap    a driver into the running stack
  iopkt sysctl net.inet.tcp                 tunables, by BSD's names
  iopkt doctor                              what is wrong with this machine?";

pub(crate) const IOPKT_END: &str = "\
Exit codes: 0 ok, 1 failed, 2 doctor found problems, 64 usage, 69 io-pkt is not running or does not answer,
77 not allowed, 78 bad configuration.
Environment: SOCK chooses the stack, IOPKT_RUN its directory (default /run/io-pkt).
Links named ifconfig, netstat, arp, route and sysctl to iopkt are those tools; iopkt man COMMAND has
a page for each, man io-pkt the daemon's.";

pub(crate) const IFCONFIG: &str = "\
Examples:
  iopkt ifconfig                                all interfaces
  iopkt ifconfig tap0 198.18.77.2/24            set the address
  iopkt ifconfig tap0 10.0.0.1 netmask 0xffffff00 alias
  iopkt ifconfig tap0 10.0.0.1 -alias           remove it
  iopkt ifconfig tap0 mtu 9000 up
  iopkt ifconfig tap0 lladdr 02:00:00:00:00:09  another MAC address
  iopkt ifconfig tap0 name wan0                 another name
  iopkt ifconfig tap0 promisc -allmulti         frames for others, but not for all groups
  iopkt ifconfig -m tap0                        with the speeds that its port can have
  iopkt ifconfig sim0 drvspec 1 loss=5          a command of the driver's own
  iopkt ifconfig vlan0 create vlan 5 vlanif tap0 198.18.5.2/24
  iopkt ifconfig vlan0 vlanpcp 3                frames more urgent than others
  iopkt ifconfig lagg0 create laggproto lacp laggport tap0 laggport tap1 198.18.77.2/24
  iopkt ifconfig tap1 destroy                   take it away";

pub(crate) const BRCONFIG: &str = "\
Examples:
  iopkt ifconfig bridge0 create
  iopkt brconfig bridge0 add tap0 add tap1 up   two links become one
  iopkt brconfig                                all bridges and their ports
  iopkt brconfig bridge0 addr                   stations, where they are, when they are forgotten
  iopkt brconfig bridge0 maxaddr 1000 timeout 300
  iopkt brconfig bridge0 static tap0 02:00:00:00:00:09
  iopkt brconfig bridge0 -learn tap1 span tap2
  iopkt brconfig bridge0 snoop                  packets to groups for those who listen only (RFC 4541)
  iopkt brconfig bridge0 groups                 listeners and routers, and where they are
  iopkt brconfig bridge0 stp tap0 stp tap1      no loops with other bridges (802.1w, 802.1D)";

pub(crate) const NETSTAT: &str = "\
Examples:
  iopkt netstat -an            all sockets, listening ones too
  iopkt netstat -s -p tcp      what TCP has counted
  iopkt netstat -g             groups that are listened to
  iopkt netstat -rn            routes; -T 1 those of another table
  iopkt netstat -i --json      interfaces, for a program";

pub(crate) const ARP: &str = "\
Examples:
  iopkt arp -an                                 all neighbours
  iopkt arp -s 198.18.77.9 02:00:00:00:00:09    a permanent one
  iopkt arp -s 198.18.77.50 auto pub            answer for a host that is behind us
  iopkt arp -d 198.18.77.9                      forget it";

pub(crate) const NDP: &str = "\
Examples:
  iopkt ndp -an                 all neighbours
  iopkt ndp -s 2001:db8::9 02:00:00:00:00:09    a permanent one
  iopkt ndp -d 2001:db8::9      forget it";

pub(crate) const IFMCSTAT: &str = "\
Examples:
  iopkt ifmcstat
  iopkt ifmcstat --json";

pub(crate) const PING: &str = "\
Examples:
  iopkt ping 198.18.77.1                    until Ctrl-C
  iopkt ping -c 3 -s 1472 -D 198.18.77.1    whole packets of 1500 bytes
  iopkt ping -6 -q -w 10 www.example.net
  iopkt ping -c 5 --json 198.18.77.1
Everybody may ask. What routers say of the requests is shown to root and the daemon's user.";

pub(crate) const PING6: &str = "\
Examples:
  iopkt ping6 -c 3 2001:db8:77::1
  iopkt ping6 -I 2001:db8:77::2 2001:db8:78::1";

pub(crate) const TRACEROUTE: &str = "\
Examples:
  iopkt traceroute 198.18.78.1
  iopkt traceroute -I -q 1 www.example.net      echo requests, one for each hop
  iopkt traceroute --json 2001:db8:78::1
Marks: !N !H !P network, host or protocol unreachable, !F too long, !X prohibited, * no answer.
It listens to ICMP, which only root and the daemon's user may.";

pub(crate) const SOCKSTAT: &str = "\
Examples:
  iopkt sockstat
  iopkt sockstat -4 -l           sockets of IPv4 without a peer
  iopkt sockstat -P tcp -p 80 --json";

pub(crate) const ROUTE: &str = "\
Examples:
  iopkt route show
  iopkt route add default 198.18.77.1
  iopkt route add -net 10.0.0.0/8 198.18.77.1
  iopkt route add -inet6 default 2001:db8::1
  iopkt route add 10.0.0.0/8 198.18.77.9          a second gateway: flows share both
  iopkt route add 10.1.0.0/16 198.18.77.1 -mtu 1400
  iopkt route add 10.2.0.0/16 -blackhole          -reject tells the senders
  iopkt route delete 10.0.0.0/8 198.18.77.9       this gateway only
  iopkt route delete 10.0.0.0/8
  iopkt route -T 1 add default 198.18.78.1        another table's: for sockets with SO_SETFIB, and ifconfig IF fib 1
  iopkt route get 8.8.8.8        which route would be taken?
  iopkt route load routes.txt    a route a line, as after add; all at once, a million too
  iopkt route load -replace routes.txt            those of earlier loads that are not in it go
  iopkt route monitor            a line for each route, address, interface and neighbour that comes, changes or goes";

pub(crate) const FPM: &str = "\
Examples:
  iopkt fpm &                                  waits for zebra at 127.0.0.1:2620
  zebra -M dplane_fpm_nl …                     with, in its configuration: fpm address 127.0.0.1
  iopkt mount -T io-pkt -o interface=tap0 exception
      lets the daemons speak by tap0: see io-pkt(8)";

pub(crate) const FPM_END: &str = "\
The routes that zebra has chosen become the stack's, several gateways and blackholes included; those
of iopkt route add stay and win. Gateways are addresses on networks of the stack's interfaces: of
IPv6 the global ones (in FRR: set ipv6 next-hop prefer-global). Other tables than the main one are
left out. Only root, this user and --user may connect, one at a time; at another address than a
loopback one whoever can reach it. What iopkt route load has brought, fpm takes for its own of before.";

pub(crate) const CLIENTS: &str = "\
Examples:
  iopkt clients
  iopkt clients --json";

pub(crate) const WORKERS: &str = "\
Examples:
  iopkt workers
  iopkt workers --json";

pub(crate) const TOP: &str = "\
Examples:
  iopkt top                     every second, until Ctrl-C
  iopkt top -w 10 -c 6          a minute of it
  iopkt top -c 1 --json";

pub(crate) const STATUS: &str = "\
Examples:
  iopkt status
  iopkt --sock /alt status --json";

pub(crate) const MOUNT: &str = "\
Examples:
  iopkt mount -T io-pkt /usr/lib/io-pkt/devnp-pair.so       both ends of a wire: pair0 pair1
  iopkt mount -T io-pkt -o iface=iop1,address=198.18.78.2/24 net_tap
  iopkt mount -T io-pkt2 -o lower=net_tap,loss=1,iface=iop2 sim    the stack of io-pkt -i 2
  iopkt mount lsm-noping.so                                 a protocol: noping
It prints the names of the interfaces it has made, or the protocol's.";

pub(crate) const UMOUNT: &str = "\
Examples:
  iopkt umount tap1
  iopkt ifconfig tap1 destroy      the same
  iopkt umount noping              a protocol
  iopkt umount /usr/lib/io-pkt/devnp-pair.so    all interfaces of a module";

pub(crate) const MODULES: &str = "\
Examples:
  iopkt modules
  iopkt modules --json";

pub(crate) const PATH: &str = "\
Examples:
  iopkt path read qnet                      what the module says
  iopkt path write qnet 'up tap1'
  iopkt path write qnet < commands
  iopkt path ioctl qnet 3";

pub(crate) const QNET: &str = "\
Examples:
  iopkt qnet nodes                          who is there, and by which ways
  iopkt qnet ls beta/logs
  iopkt qnet get beta/logs/today today
  iopkt qnet put image beta~redundant/image    each frame on every link
  iopkt qnet mount /net &                   then: cp /net/beta/logs/today . ; umount /net
  iopkt qnet sockets &                      then: iopkt run --sock /net/beta -- curl http://198.18.77.9/
  iopkt qnet sockets --serve &              at beta, whose stack anybody on the wire may use then
The module qnet must be loaded here and there: io-pkt -p qnet host=alpha,export=/srv/share
Policies: ~loadbalance, ~redundant, ~preferred:IF, ~exclusive:IF.";

pub(crate) const SYSCTL: &str = "\
Examples:
  iopkt sysctl                                  all tunables and their values
  iopkt sysctl -d net.inet.tcp                  what those of TCP mean
  iopkt sysctl net.inet.tcp.congctl.selected=bbr
  iopkt sysctl -w kern.somaxconn=1024
At the start: io-pkt -p tcpip kern.somaxconn=1024, or [sysctl] in the configuration file.";

pub(crate) const NICINFO: &str = "\
Examples:
  iopkt nicinfo                all interfaces
  iopkt nicinfo tap0 --json";

pub(crate) const RUN: &str = "\
Examples:
  iopkt run -- curl http://198.18.77.1/
  iopkt run --sock /alt -- nginx -g 'daemon off;'
  iopkt run --sock /net/beta -- curl http://198.18.77.9/     over the stack of another node
  iopkt run --loopback stack -- redis-server";

pub(crate) const RUN_END: &str = "\
The program is started in place of iopkt with LD_PRELOAD=libiopkt-preload.so, which is looked
for in $IOPKT_PRELOAD, beside iopkt, in ../lib, /usr/lib and /usr/local/lib. Its exit code is the
program's; 126 and 127 mean that it could not be started, as with env(1).
Its TCP, UDP, ICMP and raw sockets are the stack's, of IPv4 and IPv6; a server that listens on [::]:80
serves both. Packet sockets and netlink are the kernel's: tcpdump, ip and ss show its side.
Without a daemon the program is not started.";

pub(crate) const RINGS: &str = "\
Examples:
  iopkt rings tap0 -- ./packet_app              a secondary process of DPDK at tap0's packets
  iopkt netstat -s -p packet_rings              what it has done with them";

pub(crate) const RINGS_END: &str = "\
The configuration has to allow it: [eal] multi_process = true, and of the interface packet_rings = \"ingress\",
\"egress\" or \"both\"; packet_rings_unseen = \"drop\" where nothing may pass that no application has seen.
The program finds in its environment IOPKT_FILE_PREFIX, for EAL's --file-prefix, and IOPKT_RINGS, a name for each
queue. Of each there are four rings: NAME.show has packets, which it puts into NAME.pass or NAME.drop; NAME.blank
has empty buffers for packets of its own. It never frees a buffer and never allocates one. Whatever it has comes
back when it ends. dpdk-ffi/examples/packet_app.c is one. It can read and write all memory of the stack.";

pub(crate) const ENV: &str = "\
Examples:
  eval \"$(iopkt env)\"        this shell's programs use the stack from now on";

pub(crate) const DOCTOR: &str = "\
Examples:
  iopkt doctor
  iopkt doctor --json";

pub(crate) const DOCTOR_END: &str =
    "Exit code 2 if a check fails; warnings leave it 0. Nothing is changed.";

pub(crate) const COMPLETIONS: &str = "\
Examples:
  iopkt completions bash > /etc/bash_completion.d/iopkt
  source <(iopkt completions zsh)";

pub(crate) const MAN: &str = "\
Examples:
  iopkt man | man -l -
  iopkt man ifconfig | man -l -";
