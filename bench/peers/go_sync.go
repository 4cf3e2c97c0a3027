// go_sync.go -- Go's channels, sync.Mutex and sync.Cond on one processor (GOMAXPROCS=1). Unlike ours,
// they would work between threads, too.
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
)

func cpu() float64 {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Utime.Nano() + u.Stime.Nano())
}

func check(ok bool, what string) {
	if !ok {
		fmt.Fprintln(os.Stderr, "wrong:", what)
		os.Exit(1)
	}
}

func channel(n, room int) float64 {
	c, done, total := make(chan uint64, room), make(chan bool), uint64(0)
	go func() {
		for i := 0; i < n; i++ {
			total += <-c
		}
		done <- true
	}()
	start := cpu()
	for i := 0; i < n; i++ {
		c <- uint64(i)
	}
	<-done
	ns := (cpu() - start) / float64(n)
	check(total == uint64(n)*uint64(n-1)/2, "channel: the sum")
	return ns
}

func contended(n, tasks int) float64 {
	var m sync.Mutex
	var all sync.WaitGroup
	total := 0
	all.Add(tasks)
	for i := 0; i < tasks; i++ {
		go func() {
			for j := 0; j < n/tasks; j++ {
				m.Lock()
				total++
				runtime.Gosched()
				m.Unlock()
			}
			all.Done()
		}()
	}
	start := cpu()
	all.Wait()
	ns := (cpu() - start) / float64(n/tasks*tasks)
	check(total == n/tasks*tasks, "mutex")
	return ns
}

func mutex(n int) float64 {
	var m sync.Mutex
	total := 0
	start := cpu()
	for i := 0; i < n; i++ {
		m.Lock()
		total++
		m.Unlock()
		if i%100 == 99 {
			runtime.Gosched()
		}
	}
	ns := (cpu() - start) / float64(n)
	check(total == n, "mutex")
	return ns
}

const filling = 4000

// The filling of the channels is not timed.
func gets(n int, withSelect bool) float64 {
	var c [8]chan uint64
	spent, total := 0.0, 0
	for i := range c {
		c[i] = make(chan uint64, filling)
	}
	for ; n > 0; n -= filling {
		for i := range c {
			for len(c[i]) < filling {
				c[i] <- 1
			}
		}
		start := cpu()
		for i := 0; i < filling; i++ {
			if !withSelect {
				total += int(<-c[0])
				continue
			}
			select {
			case v := <-c[0]:
				total += int(v)
			case v := <-c[1]:
				total += int(v)
			case v := <-c[2]:
				total += int(v)
			case v := <-c[3]:
				total += int(v)
			case v := <-c[4]:
				total += int(v)
			case v := <-c[5]:
				total += int(v)
			case v := <-c[6]:
				total += int(v)
			case v := <-c[7]:
				total += int(v)
			}
		}
		spent += cpu() - start
	}
	return spent / float64(total)
}

func cond(n int) float64 {
	var m sync.Mutex
	var all sync.WaitGroup
	changed, turn, total := sync.NewCond(&m), 0, 0
	all.Add(2)
	for i := 0; i < 2; i++ {
		go func(who int) {
			m.Lock()
			for j := 0; j < n/2; j++ {
				for turn != who {
					changed.Wait()
				}
				total++
				turn = 1 - who
				changed.Signal()
			}
			m.Unlock()
			all.Done()
		}(i)
	}
	start := cpu()
	all.Wait()
	ns := (cpu() - start) / float64(n/2*2)
	check(total == n/2*2, "cond")
	return ns
}

func main() {
	if len(os.Args) != 3 {
		os.Exit(2)
	}
	runtime.GOMAXPROCS(1)
	n, _ := strconv.Atoi(os.Args[2])
	var ns float64
	switch os.Args[1] {
	case "chan64":
		ns = channel(n, 64)
	case "chan1":
		ns = channel(n, 1)
	case "chan0":
		ns = channel(n, 0)
	case "mutex2":
		ns = contended(n, 2)
	case "mutex10":
		ns = contended(n, 10)
	case "mutex":
		ns = mutex(n)
	case "select8":
		ns = gets(n, true)
	case "get1":
		ns = gets(n, false)
	case "cond":
		ns = cond(n)
	default:
		os.Exit(2)
	}
	fmt.Printf("%.3f\n", ns)
}
