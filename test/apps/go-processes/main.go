// Goroutines that run programs, a server on a unix socket with clients in this process, and timers.
package main

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

func digest(n int) string {
	sum := sha256.Sum256([]byte(strconv.Itoa(n)))
	for i := 0; i < 3000; i++ {
		sum = sha256.Sum256(sum[:])
	}
	return fmt.Sprintf("%x", sum[:8])
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func serve(listener net.Listener) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer connection.Close()
			lines := bufio.NewScanner(connection)
			for lines.Scan() {
				fmt.Fprintln(connection, digest(must(strconv.Atoi(lines.Text()))))
			}
		}()
	}
}

func ask(listener net.Listener, clients, questions int) []string {
	answers := make([]string, clients)
	var all sync.WaitGroup
	for client := range answers {
		all.Add(1)
		go func(client int) {
			defer all.Done()
			connection := must(net.Dial(listener.Addr().Network(), listener.Addr().String()))
			defer connection.Close()
			reader := bufio.NewReader(connection)
			for n := 0; n < questions; n++ {
				fmt.Fprintln(connection, client*questions+n)
				answers[client] = digest(len(answers[client])) + strings.TrimSpace(must(reader.ReadString('\n')))
			}
		}(client)
	}
	all.Wait()
	return answers
}

func programs(count int) []string {
	results := make([]string, count)
	tokens := make(chan struct{}, 3)
	var all sync.WaitGroup
	for n := range results {
		all.Add(1)
		tokens <- struct{}{}
		go func(n int) {
			defer all.Done()
			command := exec.Command("sh", "-c", "read x; sleep 0.01; echo $((x * x))")
			command.Stdin = strings.NewReader(strconv.Itoa(n) + "\n")
			results[n] = strings.TrimSpace(string(must(command.Output())))
			<-tokens
		}(n)
	}
	all.Wait()
	return results
}

func main() {
	size := must(strconv.Atoi(os.Args[1]))
	network, address := os.Args[2], os.Args[3]
	listener := must(net.Listen(network, address))
	go serve(listener)
	ticks := time.NewTicker(10 * time.Millisecond)
	defer ticks.Stop()
	file := must(os.Create("answers.txt"))
	for round := 0; round < size; round++ {
		<-ticks.C
		for client, answer := range ask(listener, 6, 40) {
			fmt.Fprintln(file, round, client, answer)
		}
		fmt.Fprintln(file, strings.Join(programs(12), " "))
	}
	file.Close()
	listener.Close()
	fmt.Println("rounds:", size)
	os.Exit(8)
}
