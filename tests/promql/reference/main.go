// Evaluates queries with Prometheus' own engine over samples in a TSDB: reads one JSON document, writes one.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
)

type series struct {
	Labels  map[string]string `json:"labels"`
	Samples [][2]any          `json:"samples"` // milliseconds, bits of the value in hexadecimal
}

type input struct {
	Series  []series `json:"series"`
	Queries []struct {
		Query string  `json:"query"`
		At    []int64 `json:"at"`
	} `json:"queries"`
}

// An answer: an error, or a kind and a result. Label sets are written once and referred to by their place.
type answer struct {
	Error  string `json:"error,omitempty"`
	Kind   string `json:"kind,omitempty"`
	Result any    `json:"result,omitempty"`
}

type answered struct {
	Query   string   `json:"query"`
	At      []int64  `json:"at"`
	Answers []answer `json:"answers"`
}

type output struct {
	Version string              `json:"version"`
	Labels  []map[string]string `json:"labels"`
	Queries []answered          `json:"queries"`

	places map[string]int
}

func (o *output) place(l labels.Labels) int {
	key := l.String()
	place, ok := o.places[key]
	if !ok {
		place = len(o.Labels)
		o.places[key] = place
		o.Labels = append(o.Labels, l.Map())
	}
	return place
}

func bits(v float64) string { return fmt.Sprintf("%016x", math.Float64bits(v)) }

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	var in input
	check(json.NewDecoder(os.Stdin).Decode(&in))
	dir, err := os.MkdirTemp("", "promql-reference")
	check(err)
	defer os.RemoveAll(dir)
	opts := tsdb.DefaultOptions()
	opts.OutOfOrderTimeWindow = 365 * 24 * 3600 * 1000
	opts.RetentionDuration = 100 * 365 * 24 * 3600 * 1000
	db, err := tsdb.Open(dir, nil, nil, opts, nil)
	check(err)
	ctx := context.Background()
	for _, s := range in.Series {
		app := db.Appender(ctx)
		l := labels.FromMap(s.Labels)
		for _, p := range s.Samples {
			b, err := strconv.ParseUint(p[1].(string), 16, 64)
			check(err)
			_, err = app.Append(0, l, int64(p[0].(float64)), math.Float64frombits(b))
			check(err)
		}
		check(app.Commit())
	}
	engine := promql.NewEngine(promql.EngineOpts{
		MaxSamples:               50000000,
		Timeout:                  time.Minute,
		LookbackDelta:            5 * time.Minute,
		NoStepSubqueryIntervalFn: func(int64) int64 { return 60000 },
		EnableAtModifier:         true,
		EnableNegativeOffset:     true,
	})
	out := output{Version: version(), Labels: []map[string]string{}, places: map[string]int{}}
	for _, q := range in.Queries {
		answers := []answer{}
		for _, at := range q.At {
			answers = append(answers, out.ask(ctx, engine, db, q.Query, at))
		}
		out.Queries = append(out.Queries, answered{q.Query, q.At, answers})
	}
	check(out.write(os.Stdout))
	check(db.Close())
}

// One line for each query.
func (o *output) write(w io.Writer) error {
	head, err := json.Marshal(map[string]any{"version": o.Version, "labels": o.Labels})
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%s,\"queries\":[\n", head[:len(head)-1])
	for i, q := range o.Queries {
		line, err := json.Marshal(q)
		if err != nil {
			return err
		}
		separator := ","
		if i == len(o.Queries)-1 {
			separator = "]}"
		}
		fmt.Fprintf(w, "%s%s\n", line, separator)
	}
	return nil
}

func version() string {
	info, _ := debug.ReadBuildInfo()
	for _, d := range info.Deps {
		if d.Path == "github.com/prometheus/prometheus" {
			// The module v0.309.1 is Prometheus 3.9.1.
			return d.Version
		}
	}
	return "unknown"
}

// A server's storage, which sorts series by their labels: the order of additions, and of equal elements in topk.
type sorted struct{ storage.Queryable }

type sortedQuerier struct{ storage.Querier }

func (s sorted) Querier(mint, maxt int64) (storage.Querier, error) {
	q, err := s.Queryable.Querier(mint, maxt)
	return sortedQuerier{q}, err
}

func (q sortedQuerier) Select(ctx context.Context, _ bool, hints *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	return q.Querier.Select(ctx, true, hints, matchers...)
}

func (o *output) ask(ctx context.Context, engine *promql.Engine, db *tsdb.DB, text string, at int64) answer {
	q, err := engine.NewInstantQuery(ctx, sorted{db}, nil, text, time.UnixMilli(at))
	if err != nil {
		return answer{Error: err.Error()}
	}
	defer q.Close()
	r := q.Exec(ctx)
	if r.Err != nil {
		return answer{Error: r.Err.Error()}
	}
	elements := [][2]any{}
	switch v := r.Value.(type) {
	case promql.Scalar:
		return answer{Kind: "scalar", Result: bits(v.V)}
	case promql.String:
		return answer{Kind: "string", Result: v.V}
	case promql.Vector:
		for _, s := range v {
			elements = append(elements, [2]any{o.place(s.Metric), bits(s.F)})
		}
		return answer{Kind: "vector", Result: elements}
	case promql.Matrix:
		for _, s := range v {
			points := [][2]any{}
			for _, p := range s.Floats {
				points = append(points, [2]any{p.T, bits(p.F)})
			}
			elements = append(elements, [2]any{o.place(s.Metric), points})
		}
		return answer{Kind: "matrix", Result: elements}
	}
	return answer{Error: fmt.Sprintf("unexpected value %T", r.Value)}
}
