// go.go -- goroutines on one processor (GOMAXPROCS=1): runtime.Gosched, sync.WaitGroup.
//
// sleeps runs in real time, since Go's clock cannot be moved: the 10 s are scaled down to 0.2 s,
// and what counts is CPU time, sleeping included for free.
package main

import (
	"fmt"
	"math/rand"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
)

func cpu() float64 {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Utime.Nano() + u.Stime.Nano())
}

func switchBench(n, tasks int) float64 {
	var all sync.WaitGroup
	all.Add(tasks)
	for i := 0; i < tasks; i++ {
		go func() {
			for j := 0; j < n/tasks; j++ {
				runtime.Gosched()
			}
			all.Done()
		}()
	}
	start := cpu()
	all.Wait()
	return (cpu() - start) / float64(n/tasks*tasks)
}

func spawn(n, atOnce int) float64 {
	ended := 0
	start := cpu()
	for left := n; left > 0; left -= atOnce {
		var group sync.WaitGroup
		group.Add(atOnce)
		for i := 0; i < atOnce; i++ {
			go func() {
				ended++
				group.Done()
			}()
		}
		group.Wait()
	}
	ns := (cpu() - start) / float64(n)
	if ended != n {
		os.Exit(1)
	}
	return ns
}

func sleeps(n int) float64 {
	var all, ready, begin sync.WaitGroup
	random := rand.New(rand.NewSource(7))
	all.Add(n)
	ready.Add(n)
	begin.Add(1)
	for i := 0; i < n; i++ {
		delay := time.Duration(random.Int63n(int64(200 * time.Millisecond)))
		go func() {
			ready.Done()
			begin.Wait()
			time.Sleep(delay)
			all.Done()
		}()
	}
	ready.Wait()
	start := cpu()
	begin.Done()
	all.Wait()
	return (cpu() - start) / float64(n)
}

func main() {
	if len(os.Args) != 3 {
		os.Exit(2)
	}
	runtime.GOMAXPROCS(1)
	n, _ := strconv.Atoi(os.Args[2])
	var ns float64
	switch os.Args[1] {
	case "switch2":
		ns = switchBench(n, 2)
	case "switch1k":
		ns = switchBench(n, 1000)
	case "spawn":
		ns = spawn(n, 1)
	case "spawn_mass":
		ns = spawn(n, n)
	case "sleeps":
		ns = sleeps(n)
	default:
		os.Exit(2)
	}
	fmt.Printf("%.3f\n", ns)
}
