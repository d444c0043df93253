// Package words says in Japanese why rows of bulk jobs are refused. A row keeps its
// verdict as one English text, which the API and files of bad rows have; pages and the
// command line say it in the language of who reads.
//
// What lives here: the Japanese of each verdict, found by the form of the English text.
// What must not: verdicts themselves, which bulk, its tables and the domain give. The
// tests of package bulk hold that every verdict that they bring about has its words.
//
// Read first: Say.
package words

import (
	"regexp"
	"strings"
)

// form is how an English text looks, and its Japanese: $1 is what the first group
// matches, %1 the Japanese of it, as it is a verdict itself, and &1 the list that it is.
type form struct {
	english  *regexp.Regexp
	japanese string
}

// forms are tried in this order.
var forms = compile([][2]string{
	// What stands around others.
	{`(.+); did you mean (.+)\?`, `%1(&2 の誤りではありませんか)`},
	{`line (\d+): (.+)`, `$1行目: %2`},
	{`line (\d+), (SEP[0-9A-F]{12}): (.+)`, `$1行目、$2: %3`},
	{`column (\S+): (.+)`, `列 $1: %2`},
	{`bad setting: ([a-z0-9-]+): (.+)`, `設定 $1: %2`},

	// Of tables.
	{`it has (\d+) cells?, and the first line names (\d+): mend the row; .*`,
		`セルが $1 個あり、見出しは $2 列です。行を直してください。区切り文字を含むセルは引用符で囲みます`},
	{`a quote stands within a cell: .*`,
		`セルの途中に引用符があります。セルを引用符で囲み、中の引用符は 2 つ続けて書いてください`},
	{`it holds a line end or another control character \((.+)\): take it out`,
		`改行などの制御文字 ($1) を含みます。取り除いてください`},
	{`it holds U\+FFFD, .*`, `U+FFFD を含みます。別のプログラムが文字を失った印です。その文字を書き直してください`},
	{`it holds (#\S+), the error of a formula`, `数式のエラー $1 です`},
	{`it has (\d+) bytes, at most (\d+)`, `$1 バイトあります。上限は $2 バイトです`},
	{`column (\d+) has a value, and no name in the first line`, `$1 列目に値がありますが、見出しに名前がありません`},
	{`it names no device`, `機器の名前がありません`},
	{`line (\d+) is of the same device`, `$1行目と同じ機器です`},

	// Of devices and what they get.
	{`("[^"]*") is not a device: .*`, `$1 は機器の名前ではありません。SEP と 16 進数 12 桁、または MAC アドレスで書いてください`},
	{`("[^"]*") is an address of a group, or of nobody: no device has it`,
		`$1 はグループなどのアドレスで、機器のアドレスではありません`},
	{`not found: device (".*"); create devices .*`,
		`機器 $1 は登録されていません。未登録の機器の作成を指定するか、名前を直してください`},
	{`not found: device (".*")`, `機器 $1 は登録されていません`},
	{`not found: no table has model (".*")`, `機種 $1 はどの表にもありません`},
	{`not found: profile (".*")`, `プロファイル $1 はありません`},
	{`not found: site (".*")`, `拠点 $1 はありません`},
	{`not found: load (".*")`, `ロード $1 はありません`},
	{`not found: release (".*")`, `リリース $1 はありません`},
	{`a device needs a model`, `機種が必要です`},
	{`a load and a release are both to be assigned: .*`, `ロードとリリースの両方は割り当てられません。どちらか一方にしてください`},
	{`(?:refused: )?it does not fit the model: (\S+) at level (\S+) of (\S+): it is not for model (.+)`,
		`ロード $1 は機種 $4 用ではありません ($3)`},
	{`(?:refused: )?it does not fit the model: (.+)`, `機種に合いません: $1`},
	{`(?:refused: )?no load leads there: (.+)`, `そこへ至るロードがありません: $1`},
	{`load (".*") is retired`, `ロード $1 は廃止されています`},
	{`release (".*") is retired`, `リリース $1 は廃止されています`},
	{`the repository no longer has load (".*")`, `ロード $1 はもうリポジトリーにありません`},
	{`the description has (\d+) bytes, at most (\d+)`, `説明が $1 バイトあります。上限は $2 バイトです`},
	{`the value is (.+), not (".*")`, `値は &1 のいずれかです。$2 ではありません`},
	{`(".*") is not a number of bytes such as 200k, 2M or 0`, `$1 はバイト数ではありません。例: 200k、2M、0`},
	{`it is no address of a server: .*`, `サーバーのアドレスではありません。HOST、HOST:PORT、HOST/PATH または URL で書いてください`},
	{`it holds a name or password, .*`, `利用者名かパスワードを含みます。設定ファイルは誰でも読めるため、取り除いてください`},
	{`(".*") is not HOST or HOST:PORT`, `$1 は HOST でも HOST:PORT でもありません`},
	{`forbidden(?:: .*)?`, `権限がありません`},

	// Of jobs that were carried out.
	{`rows refused: (\d+) of (\d+), so none was written`, `$2 行のうち $1 行が拒否されたため、1 行も書き込みませんでした`},
	// As jobs of version 0.1 keep it.
	{`(\d+) of (\d+) rows are refused, so none was written`, `$2 行のうち $1 行が拒否されたため、1 行も書き込みませんでした`},
	{`written, and not there when it was read back`, `書き込みましたが、読み返すとありませんでした`},
	{`the device is gone`, `機器はもうありません`},
	{`written and read back, (.+) is (".*"), not (".*")`, `書き込んで読み返すと、$1 は $3 ではなく $2 でした`},
	{`it was changed since it was made, and stays`, `作成後に変更されているため、残します`},
	{`it was heard of since it was made, and stays`, `作成後に機器から報告があったため、残します`},
	{`(\S+) is (.+) now, and was (.+)`, `$1 は現在 $2 で、当時は $3 でした`},
})

var (
	placeholder = regexp.MustCompile(`[$%&][1-9]`)
	lists       = strings.NewReplacer(", ", "、", " or ", "、")
)

func compile(all [][2]string) (out []form) {
	for _, f := range all {
		out = append(out, form{regexp.MustCompile(`^(?s:` + f[0] + `)$`), f[1]})
	}
	return out
}

// Say is a verdict for people: in Japanese if it has words there, else as it is.
func Say(verdict string, japanese bool) string {
	if !japanese {
		return verdict
	}
	said, _ := say(verdict)
	return said
}

// Known reports whether a verdict has Japanese words in all its parts.
func Known(verdict string) bool { _, known := say(verdict); return known }

func say(verdict string) (said string, known bool) {
	for _, f := range forms {
		at := f.english.FindStringSubmatchIndex(verdict)
		if at == nil {
			continue
		}
		known := true
		text := placeholder.ReplaceAllStringFunc(f.japanese, func(p string) string {
			i := 2 * int(p[1]-'0')
			part := verdict[at[i]:at[i+1]]
			switch p[0] {
			case '%':
				var ok bool
				part, ok = say(part)
				known = known && ok
			case '&':
				part = lists.Replace(part)
			}
			return part
		})
		return text, known
	}
	return verdict, false
}
