package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"syscall"
	"unsafe"
)

// network brings the loopback device of this network namespace up and makes every address of the prefix local
// to it, as `ip link set lo up; ip route add local PREFIX dev lo` would. Each pod can then listen on an address
// of its own. Done here because a bare machine need not have the ip program.
func network(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("usage: control-plane network PREFIX")
	}
	_, prefix, err := net.ParseCIDR(args[0])
	if err != nil {
		return err
	}
	if prefix.IP.To4() == nil {
		return fmt.Errorf("%s is not an IPv4 prefix", args[0])
	}
	if err := loopbackUp(); err != nil {
		return fmt.Errorf("cannot bring lo up: %w", err)
	}
	if err := addLocalRoute(prefix); err != nil {
		return fmt.Errorf("cannot add the local route %s: %w", prefix, err)
	}
	return nil
}

func loopbackUp() error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer syscall.Close(fd)
	// struct ifreq: 16 bytes of name, then the flags.
	var request [40]byte
	copy(request[:], "lo")
	binary.NativeEndian.PutUint16(request[16:], syscall.IFF_UP|syscall.IFF_RUNNING)
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&request[0])))
	if errno != 0 {
		return os.NewSyscallError("ioctl", errno)
	}
	return nil
}

func addLocalRoute(prefix *net.IPNet) error {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		return err
	}
	ones, _ := prefix.Mask.Size()
	native := binary.NativeEndian

	// struct rtmsg
	body := []byte{syscall.AF_INET, byte(ones), 0, 0, syscall.RT_TABLE_LOCAL, syscall.RTPROT_BOOT, syscall.RT_SCOPE_HOST, syscall.RTN_LOCAL, 0, 0, 0, 0}
	attribute := func(kind uint16, value []byte) {
		header := make([]byte, 4)
		native.PutUint16(header, uint16(4+len(value)))
		native.PutUint16(header[2:], kind)
		body = append(append(body, header...), value...)
	}
	attribute(syscall.RTA_DST, prefix.IP.To4())
	index := make([]byte, 4)
	native.PutUint32(index, uint32(lo.Index))
	attribute(syscall.RTA_OIF, index)

	message := make([]byte, syscall.NLMSG_HDRLEN)
	native.PutUint32(message, uint32(syscall.NLMSG_HDRLEN+len(body)))
	native.PutUint16(message[4:], syscall.RTM_NEWROUTE)
	native.PutUint16(message[6:], syscall.NLM_F_REQUEST|syscall.NLM_F_ACK|syscall.NLM_F_CREATE|syscall.NLM_F_REPLACE)
	message = append(message, body...)

	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, syscall.NETLINK_ROUTE)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer syscall.Close(fd)
	if err := syscall.Sendto(fd, message, 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto", err)
	}
	answer := make([]byte, 4096)
	n, _, err := syscall.Recvfrom(fd, answer, 0)
	if err != nil {
		return os.NewSyscallError("recvfrom", err)
	}
	if n < syscall.NLMSG_HDRLEN+4 || native.Uint16(answer[4:]) != syscall.NLMSG_ERROR {
		return fmt.Errorf("unexpected netlink answer of %d bytes", n)
	}
	if code := int32(native.Uint32(answer[syscall.NLMSG_HDRLEN:])); code != 0 {
		return os.NewSyscallError("netlink", syscall.Errno(-code))
	}
	return nil
}
