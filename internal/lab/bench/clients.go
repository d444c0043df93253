package bench

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/peerload/peerload/internal/lab/measure"
	"github.com/peerload/peerload/internal/lab/process"
	"github.com/peerload/peerload/internal/lab/site"
	"github.com/peerload/peerload/internal/lab/units"
)

// curl returns the client curl: every device downloads by itself.
func curl() (*measure.Client, error) {
	path, err := exec.LookPath("curl")
	if err != nil {
		return nil, fmt.Errorf("curl is not installed")
	}
	return &measure.Client{
		Name: "curl",
		Device: func(f *measure.Fetch, i int) []string {
			return []string{path, "-sSf", "--noproxy", "*", "-o", filepath.Join(f.DeviceDir(i), process.FileName), f.URL}
		},
	}, nil
}

// cachePort is where the cache of a site listens.
const cachePort = 8080

// cache returns nginx as a cache on the first device's host, from which every
// device downloads by curl. Of several that ask for a file that it does not
// have, nginx lets one through and has the others wait for the whole file.
func cache() (*measure.Client, error) {
	downloads, err := curl()
	if err != nil {
		return nil, err
	}
	nginx, err := lookSystem("nginx")
	if err != nil {
		return nil, err
	}
	addr := func(f *measure.Fetch) string { return netip.AddrPortFrom(f.Host(0).Addr, cachePort).String() }
	c := &measure.Client{Name: "nginx cache on site"}
	c.Helper = func(f *measure.Fetch) ([]string, string) {
		return []string{nginx, "-p", f.Dir, "-c", filepath.Join(f.Dir, "nginx.conf")}, addr(f)
	}
	c.Prepare = func(f *measure.Fetch) error {
		conf := fmt.Sprintf(`daemon off; master_process off; worker_processes 1;
pid nginx.pid; error_log stderr;
events { worker_connections 4096; }
http {
	access_log off; sendfile on;
	client_body_temp_path body; proxy_temp_path temp; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
	proxy_cache_path cache keys_zone=c:1m use_temp_path=off;
	server {
		listen %s;
		location / {
			proxy_pass http://%s; proxy_http_version 1.1; proxy_set_header Connection "";
			proxy_cache c; proxy_cache_valid 200 1h;
			proxy_ignore_headers Cache-Control Expires;
			proxy_cache_lock on; proxy_cache_lock_timeout 1h; proxy_cache_lock_age 1h;
		}
	}
}
`, addr(f), hostOf(f.URL))
		return os.WriteFile(filepath.Join(f.Dir, "nginx.conf"), []byte(conf), 0o600)
	}
	c.Device = func(f *measure.Fetch, i int) []string {
		own := *f
		own.URL = "http://" + addr(f) + "/" + process.FileName
		return downloads.Device(&own, i)
	}
	return c, nil
}

// nginxServer returns nginx as the file server, with one worker.
func nginxServer() (*measure.Server, error) {
	nginx, err := lookSystem("nginx")
	if err != nil {
		return nil, err
	}
	return &measure.Server{Name: "nginx", Start: func(dir, pub, address string) (argv, environment []string, err error) {
		path := filepath.Join(dir, "nginx.conf")
		conf := fmt.Sprintf(`daemon off; user root; worker_processes 1;
pid %s; error_log stderr;
events { worker_connections 4096; }
http {
	access_log off; sendfile on;
	client_body_temp_path body; proxy_temp_path temp; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
	server { listen %s; root %s; }
}
`, filepath.Join(dir, "nginx.pid"), address, pub)
		// It takes sockets over from a process before it in this way.
		return []string{nginx, "-p", dir, "-c", path}, []string{"NGINX=3;"}, os.WriteFile(path, []byte(conf), 0o600)
	}}, nil
}

// hostOf returns the host and port of a URL of the lab's server.
func hostOf(url string) string {
	_, rest, _ := bytes.Cut([]byte(url), []byte("://"))
	host, _, _ := bytes.Cut(rest, []byte("/"))
	return string(host)
}

// lookSystem finds a program that may be in a directory of root's path only.
func lookSystem(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	path, err := exec.LookPath("/usr/sbin/" + name)
	if err != nil {
		return "", fmt.Errorf("%s is not installed", name)
	}
	return path, nil
}

// uftpShare is the share of the slowest link that uftp is told to fill. It
// sends at a fixed rate that a person has to set, not counting Ethernet, IP and
// UDP headers; what does not fit is lost and sent again.
const uftpShare = 0.9

// uftp returns uftp, which sends the file once, by multicast, from the server's
// side to all devices: the site's routers forward it, which a real WAN seldom
// does. The sender gets the list of devices, so that it can begin as soon as
// all have answered.
func uftp() (*measure.Client, error) {
	sender, err := exec.LookPath("uftp")
	if err != nil {
		return nil, fmt.Errorf("uftp is not installed")
	}
	receiver, err := exec.LookPath("uftpd")
	if err != nil {
		return nil, fmt.Errorf("uftpd is not installed")
	}
	id := func(f *measure.Fetch, i int) string {
		a := f.Host(i).Addr.As4()
		return fmt.Sprintf("0x%08X", binary.BigEndian.Uint32(a[:]))
	}
	const result = "RESULT;"
	return &measure.Client{
		Name: "uftp, multicast over the WAN",
		Sender: func(f *measure.Fetch) []string {
			rate := uftpShare * float64(min(f.WAN, f.LAN)) / float64(units.Kbit)
			ids := make([]string, f.Devices)
			for i := range ids {
				ids[i] = id(f, i)
			}
			return []string{
				sender, "-R", strconv.Itoa(int(rate)), "-M", site.AnnounceGroup.String(), "-P", site.DataGroup.String(),
				"-I", site.InterfaceName, "-t", "8", "-H", strings.Join(ids, ","), f.Source,
			}
		},
		Device: func(f *measure.Fetch, i int) []string {
			return []string{
				receiver, "-d", "-q", "-U", id(f, i), "-D", f.DeviceDir(i), "-I", site.InterfaceName,
				"-M", site.AnnounceGroup.String(), "-F", "/dev/stdout",
			}
		},
		Done: func(line []byte) bool {
			return bytes.HasPrefix(line, []byte(result)) && bytes.HasSuffix(line, []byte(";copied"))
		},
	}, nil
}

// aria2Port is where aria2 listens for other peers.
const aria2Port = 6881

// aria2 returns aria2 with BitTorrent: the torrent names the file server as a
// web seed, of which each device takes other pieces first, and the peers find
// each other by local service discovery.
func aria2() (*measure.Client, error) {
	path, err := exec.LookPath("aria2c")
	if err != nil {
		return nil, fmt.Errorf("aria2 is not installed")
	}
	torrent := func(f *measure.Fetch) string { return filepath.Join(f.Dir, "file.torrent") }
	// aria2 calls a program when it has the file, and goes on serving; the
	// program gets the number of the download, the number of files and the
	// path.
	echo, err := exec.LookPath("echo")
	if err != nil {
		return nil, err
	}
	complete := []byte(string(filepath.Separator) + process.FileName)
	return &measure.Client{
		Name: "aria2, local discovery",
		Prepare: func(f *measure.Fetch) error {
			src, err := os.Open(f.Source)
			if err != nil {
				return err
			}
			defer src.Close()
			meta, err := metainfo(src, f.Size, f.URL)
			if err != nil {
				return err
			}
			return os.WriteFile(torrent(f), meta, 0o600)
		},
		Device: func(f *measure.Fetch, i int) []string {
			return []string{
				path, "--no-conf", "--dir=" + f.DeviceDir(i), "--listen-port=" + strconv.Itoa(aria2Port),
				"--enable-dht=false", "--enable-dht6=false", "--disable-ipv6=true",
				"--bt-enable-lpd=true", "--bt-lpd-interface=" + f.Host(i).Addr.String(),
				"--seed-time=600", "--seed-ratio=0", "--file-allocation=none",
				"--stream-piece-selector=random", "--show-console-readout=false",
				"--on-bt-download-complete=" + echo, torrent(f),
			}
		},
		Done: func(line []byte) bool { return len(bytes.Fields(line)) == 3 && bytes.HasSuffix(line, complete) },
	}, nil
}

// aria2Wide returns aria2 with as many connections to the server as it can have.
func aria2Wide() (*measure.Client, error) {
	path, err := exec.LookPath("aria2c")
	if err != nil {
		return nil, fmt.Errorf("aria2 is not installed")
	}
	return &measure.Client{
		Name: "aria2 -x16",
		Device: func(f *measure.Fetch, i int) []string {
			return []string{path, "--no-conf", "-x16", "-s16", "-k1M", "--file-allocation=none", "--show-console-readout=false",
				"--dir=" + f.DeviceDir(i), "--out=" + process.FileName, f.URL}
		},
	}, nil
}

// torrentPiece is the length of a piece of a torrent: small, so that a device
// can pass on early what it has.
const torrentPiece = 64 << 10

// metainfo writes the torrent of one file (BEP 3) with a web seed (BEP 19).
func metainfo(src io.Reader, size int64, url string) ([]byte, error) {
	var pieces bytes.Buffer
	for left := size; left > 0; {
		n := min(left, torrentPiece)
		h := sha1.New()
		if _, err := io.CopyN(h, src, n); err != nil {
			return nil, err
		}
		pieces.Write(h.Sum(nil))
		left -= n
	}
	var t bytes.Buffer
	fmt.Fprintf(&t, "d4:infod6:lengthi%de4:name%d:%s12:piece lengthi%de6:pieces%d:", size, len(process.FileName),
		process.FileName, torrentPiece, pieces.Len())
	t.Write(pieces.Bytes())
	fmt.Fprintf(&t, "e8:url-list%d:%se", len(url), url)
	return t.Bytes(), nil
}
