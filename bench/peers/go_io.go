// go_io.go -- the echo with Go: a goroutine for each connection, on one processor.
package main

import (
	"fmt"
	"net"
	"os"
	"runtime"
)

func echo(conn net.Conn) {
	buffer := make([]byte, 4096)
	for {
		n, err := conn.Read(buffer)
		if err == nil {
			_, err = conn.Write(buffer[:n])
		}
		if err != nil {
			conn.Close()
			return
		}
	}
}

func main() {
	if len(os.Args) != 2 || os.Args[1] != "echo" {
		os.Exit(2)
	}
	runtime.GOMAXPROCS(1)
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		os.Exit(1)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	for {
		conn, err := listener.Accept()
		if err == nil {
			go echo(conn)
		}
	}
}
