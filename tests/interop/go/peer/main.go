// A peer on pires/go-proxyproto, built in GOPATH mode against the Debian package.
//
//	peer serve                        demands a header, prints what it was told, echoes
//	peer send [-from IP] [-bare] ADDR sends the example header, then its standard input
//	peer datagrams ADDR PAYLOAD...    sends datagrams, the first with a header, and prints the answers
//	peer certificate NAME             writes a key and a self-signed certificate, for HAProxy
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"os"
	"time"

	proxyproto "github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"
)

const patience = 30 * time.Second

func main() {
	log.SetFlags(0)
	if len(os.Args) < 2 {
		log.Fatal("usage: peer serve | send [-from IP] [-bare] ADDR | datagrams ADDR PAYLOAD... | certificate NAME")
	}
	var err error
	switch os.Args[1] {
	case "serve":
		err = serve()
	case "send":
		err = send(os.Args[2:])
	case "datagrams":
		err = datagrams(os.Args[2], os.Args[3:])
	case "certificate":
		err = certificate(os.Args[2])
	default:
		err = fmt.Errorf("no command %q", os.Args[1])
	}
	if err != nil {
		log.Fatal(err)
	}
}

func serve() error {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	require := func(net.Addr) (proxyproto.Policy, error) { return proxyproto.REQUIRE, nil }
	listener := &proxyproto.Listener{Listener: inner, Policy: require}
	fmt.Println("listening", inner.Addr())
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		fmt.Println("accepted")
		go echo(conn.(*proxyproto.Conn))
	}
}

func echo(conn *proxyproto.Conn) {
	defer conn.Close()
	header := conn.ProxyHeader()
	if header == nil {
		fmt.Println("no header")
		return
	}
	tlvs, err := header.TLVs()
	if err != nil {
		fmt.Println("bad TLVs:", err)
		return
	}
	fmt.Printf("told version=%d remote=%s local=%s vpce=%q\n",
		header.Version, conn.RemoteAddr(), conn.LocalAddr(), tlvparse.FindAWSVPCEndpointID(tlvs))
	if _, err := io.Copy(conn, conn); err != nil {
		fmt.Println("echo ended:", err)
	}
}

func send(args []string) error {
	flags := flag.NewFlagSet("send", flag.ExitOnError)
	from := flags.String("from", "127.0.0.1", "source address")
	bare := flags.Bool("bare", false, "send no header")
	flags.Parse(args)
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(*from)}, Timeout: patience}
	dialed, err := dialer.Dial("tcp", flags.Arg(0))
	if err != nil {
		return err
	}
	conn := dialed.(*net.TCPConn)
	conn.SetDeadline(time.Now().Add(patience))
	sent := make(chan error, 1)
	go func() { sent <- transmit(conn, !*bare) }()
	_, readErr := io.Copy(os.Stdout, conn)
	// A reset is reported once, and the reader meets it unless a write did: what the sender says
	// of a connection that is already gone comes second.
	return firstOf(readErr, <-sent)
}

func transmit(conn *net.TCPConn, withHeader bool) error {
	if withHeader {
		header := proxyproto.HeaderProxyFromAddrs(2,
			&net.TCPAddr{IP: net.ParseIP("192.168.100.200"), Port: 55407},
			&net.TCPAddr{IP: net.ParseIP("192.168.100.201"), Port: 8080})
		if _, err := header.WriteTo(conn); err != nil {
			return err
		}
	}
	if _, err := io.Copy(conn, os.Stdin); err != nil {
		return err
	}
	return conn.CloseWrite()
}

func datagrams(addr string, payloads []string) error {
	conn, err := net.Dial("udp", addr)
	if err != nil {
		return err
	}
	conn.SetDeadline(time.Now().Add(patience))
	header := proxyproto.HeaderProxyFromAddrs(2,
		&net.UDPAddr{IP: net.ParseIP("192.168.100.200"), Port: 55407},
		&net.UDPAddr{IP: net.ParseIP("192.168.100.201"), Port: 8080})
	sent, err := header.Format()
	if err != nil {
		return err
	}
	answer := make([]byte, 65535)
	for _, payload := range payloads {
		if _, err := conn.Write(append(sent, payload...)); err != nil {
			return err
		}
		n, err := conn.Read(answer)
		if err != nil {
			return err
		}
		fmt.Println(string(answer[:n]))
		sent = nil
	}
	return nil
}

func certificate(name string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     []string{name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return firstOf(
		pem.Encode(os.Stdout, &pem.Block{Type: "CERTIFICATE", Bytes: signed}),
		pem.Encode(os.Stdout, &pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
	return nil
}
