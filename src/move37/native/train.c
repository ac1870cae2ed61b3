/* What a training pass of a Llama / Qwen2 / Qwen3 decoder does between its matrix products, forward and backward, on a CPU:
 * normalisation with the residual sum, attention of sequences that share prompts, SiLU gates, log-probs from logits.
 *
 * Activations are `elem`: float, or bfloat16 where HALF is defined; the residual stream, statistics and all sums are float.
 * A sequence is a prompt, or a body that continues one. Nothing is padded, and no attention matrix is kept: the backward
 * pass computes it again from the scores' log-sum-exp (Dao et al., arXiv 2205.14135).
 *
 * Every sum has one order for a given number of threads, whichever thread is first.
 */

static void put_one(elem *p, float x) {
    elem whole[LANES];
    put(whole, all(x));
    *p = whole[0];
}

enum { TILE = 48 }; /* queries at a time */

/* ------------------------------------------------------------------------------------------------ normalisation */

/* x' = x + delta; y = x' / rms(x') * weight. x and x' [n][hidden] float, may be the same; without delta x' is x */
void move37_norm(i64 n, i64 hidden, const float *x, const elem *delta, const float *weight, float eps, float *sum, elem *y,
                 float *scale) {
#pragma omp parallel for schedule(static)
    for (i64 i = 0; i < n; i++) {
        const float *row = x + i * hidden;
        float *to = sum + i * hidden;
        vec squares = all(0);
        for (i64 j = 0; j < hidden; j += LANES) {
            vec v = load(row + j);
            if (delta) v += get(delta + i * hidden + j);
            store(to + j, v);
            squares += v * v;
        }
        const float s = scale[i] = 1.0f / sqrtf(total(squares) / (float)hidden + eps);
        for (i64 j = 0; j < hidden; j += LANES) put(y + i * hidden + j, load(to + j) * s * load(weight + j));
    }
}

/* dx += gradient through y = x * scale * weight; dweight [threads][hidden] += its share; copy: dx as elem, or null */
void move37_norm_back(i64 n, i64 hidden, const float *x, const float *scale, const float *weight, const elem *dy, float *dx,
                      float *dweight, elem *copy, i64 threads) {
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (i64 t = 0; t < threads; t++) {
        float *mine = dweight + t * hidden;
        for (i64 i = n * t / threads; i < n * (t + 1) / threads; i++) {
            const float *row = x + i * hidden, s = scale[i];
            const elem *slope = dy + i * hidden;
            float *to = dx + i * hidden;
            vec dots = all(0);
            for (i64 j = 0; j < hidden; j += LANES) {
                const vec unit = load(row + j) * s, g = get(slope + j);
                dots += unit * g * load(weight + j);
                store(mine + j, load(mine + j) + unit * g);
            }
            const float mean = total(dots) / (float)hidden;
            for (i64 j = 0; j < hidden; j += LANES) {
                const vec v = load(to + j) + (get(slope + j) * load(weight + j) - load(row + j) * (s * mean)) * s;
                store(to + j, v);
                if (copy) put(copy + i * hidden + j, v);
            }
        }
    }
}

/* --------------------------------------------------------------------------------------------------- SiLU gates */

/* act [n][ffn] = silu(gate) * up; both [n][2 * ffn] */
void move37_gate(i64 n, i64 ffn, const elem *both, elem *act) {
#pragma omp parallel for schedule(static)
    for (i64 i = 0; i < n; i++)
        for (i64 j = 0; j < ffn; j += LANES) {
            const vec g = get(both + i * 2 * ffn + j);
            put(act + i * ffn + j, g * get(both + i * 2 * ffn + ffn + j) / (1.0f + exponential(-g)));
        }
}

/* both becomes its own gradient; dact becomes act, which the gradient of the next matrix needs */
void move37_gate_back(i64 n, i64 ffn, elem *both, elem *dact) {
#pragma omp parallel for schedule(static)
    for (i64 i = 0; i < n; i++)
        for (i64 j = 0; j < ffn; j += LANES) {
            elem *gate = both + i * 2 * ffn + j, *up = gate + ffn, *act = dact + i * ffn + j;
            const vec g = get(gate), u = get(up), slope = get(act), share = 1.0f / (1.0f + exponential(-g));
            put(act, g * share * u);
            put(gate, slope * u * share * (1.0f + g * (1.0f - share)));
            put(up, slope * g * share);
        }
}

/* ---------------------------------------------------------------------------------------------------- attention */

typedef struct {
    i64 heads, kv_heads, width;
    float eps;
    const float *bias, *q_norm, *k_norm; /* null where the family has none */
    const float *cosine, *sine;          /* [positions][width] */
} Heads;

typedef struct { /* flat tokens: start, count; `part`: bodies that are worked on together, all of one prompt or of none */
    i64 prompts, parts, longest_prompt, longest_body;
    const i64 *prompt; /* [prompts][2] start, count */
    const i64 *part;   /* [parts][3] prompt or -1, first body, end */
    const i64 *body;   /* [bodies][2] start, count */
} Layout;

typedef struct { /* keys and values of consecutive tokens of one head; n padded to whole panels with zeros */
    i64 start, n, position;
    float *key_columns, *value_columns; /* [n / PANEL][width][PANEL] */
    float *keys, *values;               /* [n][padded width] */
    float *dkeys, *dvalues;             /* [n][padded width] */
} Segment;

typedef struct { /* what one thread works in */
    Segment prompt, body;
    float *query, *dout, *sum, *score, *slope, *row;
} Work;

static i64 wide(const Heads *a) { return (a->heads + 2 * a->kv_heads) * a->width; }

/* x / rms(x) * norm, where the family has that, rotated to `position` */
static void turn(const Heads *a, float *x, const float *norm, i64 position) {
    const i64 width = a->width, half = width / 2;
    const float *cosine = a->cosine + position * width, *sine = a->sine + position * width;
    if (norm) {
        vec squares = all(0);
        for (i64 d = 0; d < width; d += LANES) squares += load(x + d) * load(x + d);
        const float scale = 1.0f / sqrtf(total(squares) / (float)width + a->eps);
        for (i64 d = 0; d < width; d += LANES) store(x + d, load(x + d) * scale * load(norm + d));
    }
    for (i64 d = 0; d < half; d++) {
        const float one = x[d], two = x[d + half];
        x[d] = one * cosine[d] - two * sine[d];
        x[d + half] = two * cosine[d + half] + one * sine[d + half];
    }
}

static void raw(const Heads *a, const elem *qkv, i64 token, i64 head, float *x) {
    for (i64 d = 0; d < a->width; d += LANES) {
        store(x + d, get(qkv + token * wide(a) + head * a->width + d));
        if (a->bias) store(x + d, load(x + d) + load(a->bias + head * a->width + d));
    }
}

/* The gradient dx of a turned head becomes that of the raw one, and is written; dnorm += its share */
static void turn_back(const Heads *a, const elem *qkv, elem *dqkv, i64 token, i64 head, const float *norm, i64 position,
                      float *dx, float *dnorm, float *x) {
    const i64 width = a->width, half = width / 2;
    const float *cosine = a->cosine + position * width, *sine = a->sine + position * width;
    for (i64 d = 0; d < half; d++) {
        const float one = dx[d], two = dx[d + half];
        dx[d] = one * cosine[d] + two * sine[d + half];
        dx[d + half] = two * cosine[d + half] - one * sine[d];
    }
    if (norm) {
        vec squares = all(0), dots = all(0);
        raw(a, qkv, token, head, x);
        for (i64 d = 0; d < width; d += LANES) squares += load(x + d) * load(x + d);
        const float scale = 1.0f / sqrtf(total(squares) / (float)width + a->eps);
        for (i64 d = 0; d < width; d += LANES) {
            const vec unit = load(x + d) * scale, share = unit * load(dx + d);
            store(dnorm + d, load(dnorm + d) + share);
            dots += share * load(norm + d);
        }
        const float mean = total(dots) / (float)width;
        for (i64 d = 0; d < width; d += LANES)
            store(dx + d, (load(dx + d) * load(norm + d) - load(x + d) * (scale * mean)) * scale);
    }
    for (i64 d = 0; d < width; d += LANES) put(dqkv + token * wide(a) + head * width + d, load(dx + d));
}

/* Read a segment's keys and values for one key/value head; `back`: as the backward pass needs them */
static void fill(const Heads *a, const elem *qkv, i64 head, i64 start, i64 n, i64 position, int back, Segment *s, float *x) {
    const i64 width = a->width, padded = up(width, PANEL), whole = up(n, PANEL);
    s->start = start, s->n = n, s->position = position;
    memset(s->key_columns, 0, sizeof(float) * whole * width);
    memset(s->values, 0, sizeof(float) * whole * padded);
    if (back) {
        memset(s->value_columns, 0, sizeof(float) * whole * width);
        memset(s->keys, 0, sizeof(float) * whole * padded);
    }
    for (i64 i = 0; i < n; i++) {
        float *columns = s->key_columns + i / PANEL * width * PANEL + i % PANEL, *value = s->values + i * padded;
        raw(a, qkv, start + i, a->heads + head, x);
        turn(a, x, a->k_norm, position + i);
        for (i64 d = 0; d < width; d++) columns[d * PANEL] = x[d];
        raw(a, qkv, start + i, a->heads + a->kv_heads + head, value);
        if (!back) continue;
        columns = s->value_columns + i / PANEL * width * PANEL + i % PANEL;
        memcpy(s->keys + i * padded, x, sizeof(float) * width);
        for (i64 d = 0; d < width; d++) columns[d * PANEL] = value[d];
    }
}

/* product [m][panels of n] = a [m][width] columns */
static void against(i64 m, const float *rows, i64 ld, i64 width, const float *columns, i64 n, float *product, i64 ldp) {
    for (i64 t = 0; t < n; t += PANEL) panel(m, rows, ld, width, columns + t * width, PANEL, product + t, ldp, 0);
}

/* sum [m][padded] += weights [m][n] rows [n][padded] */
static void mix(i64 m, const float *weights, i64 ldw, i64 n, const float *rows, i64 padded, float *sum) {
    for (i64 d = 0; d < padded; d += PANEL) panel(m, weights, ldw, n, rows + d, padded, sum + d, padded, 1);
}

/* sum [n][padded] += transposed weights [m][n], rows [m][padded] */
static void spread(i64 n, const float *weights, i64 ldw, i64 m, const float *rows, i64 padded, float *sum) {
    for (i64 d = 0; d < padded; d += PANEL) across(n, weights, ldw, m, rows + d, padded, sum + d, padded);
}

/* Turned and scaled queries first .. first + m of a body */
static void queries(const Heads *a, const elem *qkv, const Segment *s, i64 head, i64 first, i64 m, float *query) {
    const i64 padded = up(a->width, PANEL);
    const float scale = 1.0f / sqrtf((float)a->width);
    for (i64 i = 0; i < m; i++) {
        float *x = query + i * padded;
        raw(a, qkv, s->start + first + i, head, x);
        turn(a, x, a->q_norm, s->position + first + i);
        for (i64 d = 0; d < a->width; d += LANES) store(x + d, load(x + d) * scale);
    }
}

/* Softmax of a row of scores over the prompt and `seen` tokens of the body, times a common factor; others become 0 */
static float weigh(float *score, i64 prompt, i64 seen, i64 end, float *top) {
    const i64 body = up(prompt, PANEL);
    for (i64 j = prompt; j < body; j++) score[j] = -INFINITY;
    for (i64 j = body + seen; j < end; j++) score[j] = -INFINITY;
    vec high = load(score);
    for (i64 j = LANES; j < end; j += LANES) high = larger(load(score + j), high);
    *top = high[0];
    for (int i = 1; i < LANES; i++) *top = high[i] > *top ? high[i] : *top;
    vec sum = all(0);
    for (i64 j = 0; j < end; j += LANES) {
        const vec e = exponential(load(score + j) - *top);
        store(score + j, e);
        sum += e;
    }
    return total(sum);
}

/* One query head of a body that sees its prompt and itself */
static void forward(const Heads *a, const elem *qkv, i64 head, Work *w, elem *out, float *lse) {
    const Segment *p = &w->prompt, *s = &w->body;
    const i64 width = a->width, padded = up(width, PANEL), before = up(p->n, PANEL), ld = before + up(s->n, PANEL);
    for (i64 first = 0, m; first < s->n; first += m) {
        m = least(TILE, s->n - first);
        const i64 seen = first + m, end = before + up(seen, PANEL);
        queries(a, qkv, s, head, first, m, w->query);
        against(m, w->query, padded, width, p->key_columns, p->n, w->score, ld);
        against(m, w->query, padded, width, s->key_columns, seen, w->score + before, ld);
        for (i64 i = 0; i < m; i++) {
            float top;
            const i64 token = s->start + first + i;
            w->row[i] = weigh(w->score + i * ld, p->n, first + i + 1, end, &top);
            lse[token * a->heads + head] = top + logf(w->row[i]);
        }
        memset(w->sum, 0, sizeof(float) * m * padded);
        mix(m, w->score, ld, p->n, p->values, padded, w->sum);
        mix(m, w->score + before, ld, seen, s->values, padded, w->sum);
        for (i64 i = 0; i < m; i++)
            for (i64 d = 0; d < width; d += LANES)
                put(out + ((s->start + first + i) * a->heads + head) * width + d, load(w->sum + i * padded + d) / w->row[i]);
    }
}

/* Attention weights from scores, and in `slope` (d loss / d weight) becomes d loss / d score */
static void unweigh(float *score, float *slope, i64 prompt, i64 seen, i64 end, float lse, float dot) {
    const i64 body = up(prompt, PANEL);
    for (i64 j = 0; j < end; j += LANES) {
        const vec weight = exponential(load(score + j) - lse);
        store(score + j, weight);
        store(slope + j, weight * (load(slope + j) - dot));
    }
    for (i64 j = prompt; j < body; j++) score[j] = slope[j] = 0;
    for (i64 j = body + seen; j < end; j++) score[j] = slope[j] = 0;
}

/* One query head of a body, backward: adds to the gradients of keys and values, writes those of its queries */
static void backward(const Heads *a, const elem *qkv, i64 head, Work *w, const elem *out, const float *lse, const elem *dout,
                     elem *dqkv, float *dnorm) {
    const Segment *p = &w->prompt, *s = &w->body;
    const i64 width = a->width, padded = up(width, PANEL), before = up(p->n, PANEL), ld = before + up(s->n, PANEL);
    const float scale = 1.0f / sqrtf((float)width);
    for (i64 first = 0, m; first < s->n; first += m) {
        m = least(TILE, s->n - first);
        const i64 seen = first + m, end = before + up(seen, PANEL);
        queries(a, qkv, s, head, first, m, w->query);
        against(m, w->query, padded, width, p->key_columns, p->n, w->score, ld);
        against(m, w->query, padded, width, s->key_columns, seen, w->score + before, ld);
        for (i64 i = 0; i < m; i++) {
            const i64 at = ((s->start + first + i) * a->heads + head) * width;
            vec dots = all(0);
            for (i64 d = 0; d < width; d += LANES) {
                const vec g = get(dout + at + d);
                store(w->dout + i * padded + d, g);
                dots += g * get(out + at + d);
            }
            w->row[i] = total(dots);
        }
        against(m, w->dout, padded, width, p->value_columns, p->n, w->slope, ld);
        against(m, w->dout, padded, width, s->value_columns, seen, w->slope + before, ld);
        for (i64 i = 0; i < m; i++) {
            const float norm = lse[(s->start + first + i) * a->heads + head];
            unweigh(w->score + i * ld, w->slope + i * ld, p->n, first + i + 1, end, norm, w->row[i]);
        }
        memset(w->sum, 0, sizeof(float) * m * padded);
        mix(m, w->slope, ld, p->n, p->keys, padded, w->sum);
        mix(m, w->slope + before, ld, seen, s->keys, padded, w->sum);
        spread(p->n, w->score, ld, m, w->dout, padded, p->dvalues);
        spread(seen, w->score + before, ld, m, w->dout, padded, s->dvalues);
        spread(p->n, w->slope, ld, m, w->query, padded, p->dkeys);
        spread(seen, w->slope + before, ld, m, w->query, padded, s->dkeys);
        for (i64 i = 0; i < m; i++) {
            float *x = w->sum + i * padded;
            for (i64 d = 0; d < width; d += LANES) store(x + d, load(x + d) * scale);
            turn_back(a, qkv, dqkv, s->start + first + i, head, a->q_norm, s->position + first + i, x, dnorm, w->dout);
        }
    }
}

/* Gradients of a segment's keys and values to the raw ones */
static void finish(const Heads *a, const elem *qkv, i64 head, const Segment *s, elem *dqkv, float *dnorm, float *x) {
    const i64 width = a->width, padded = up(width, PANEL);
    for (i64 i = 0; i < s->n; i++) {
        const float *value = s->dvalues + i * padded;
        elem *to = dqkv + (s->start + i) * wide(a) + (a->heads + a->kv_heads + head) * width;
        turn_back(a, qkv, dqkv, s->start + i, a->heads + head, a->k_norm, s->position + i, s->dkeys + i * padded, dnorm, x);
        for (i64 d = 0; d < width; d += LANES) put(to + d, load(value + d));
    }
}

static float *carve(float **scratch, i64 floats) {
    float *start = *scratch;
    *scratch += up(floats, LANES);
    return start;
}

static Segment segment(i64 n, i64 width, float **scratch) {
    const i64 whole = up(n, PANEL), padded = up(width, PANEL);
    Segment s = {0};
    s.key_columns = carve(scratch, whole * width), s.value_columns = carve(scratch, whole * width);
    s.keys = carve(scratch, whole * padded), s.values = carve(scratch, whole * padded);
    s.dkeys = carve(scratch, whole * padded), s.dvalues = carve(scratch, whole * padded);
    return s;
}

static Work work(const Heads *a, const Layout *l, float **scratch) {
    const i64 padded = up(a->width, PANEL), longest = l->longest_body > l->longest_prompt ? l->longest_body : l->longest_prompt;
    const i64 ld = up(l->longest_prompt, PANEL) + up(longest, PANEL);
    Work w;
    w.prompt = segment(l->longest_prompt, a->width, scratch), w.body = segment(longest, a->width, scratch);
    w.query = carve(scratch, TILE * padded), w.dout = carve(scratch, TILE * padded), w.sum = carve(scratch, TILE * padded);
    w.score = carve(scratch, TILE * ld), w.slope = carve(scratch, TILE * ld), w.row = carve(scratch, TILE + padded);
    return w;
}

/* Floats that a thread works in */
i64 move37_attention_scratch(const Heads *a, const Layout *l) {
    float *end = 0;
    work(a, l, &end);
    return end - (float *)0;
}

/* A part's prompt, which is empty where `prompt` < 0; its length */
static i64 begin(const Heads *a, const Layout *l, const elem *qkv, i64 prompt, i64 head, int back, Work *w) {
    const i64 n = prompt < 0 ? 0 : l->prompt[2 * prompt + 1];
    fill(a, qkv, head, n ? l->prompt[2 * prompt] : 0, n, 0, back, &w->prompt, w->row);
    return n;
}

/* out [n][heads][width], lse [n][heads] from qkv [n][heads + 2 kv_heads][width], raw: turned here */
void move37_attend(const Heads *a, const Layout *l, const elem *qkv, elem *out, float *lse, float *scratch, i64 threads) {
    const i64 group = a->heads / a->kv_heads, each = move37_attention_scratch(a, l), units = l->prompts + l->parts;
#pragma omp parallel num_threads(threads)
    {
        float *mine = scratch;
#ifdef _OPENMP
        mine += omp_get_thread_num() * each;
#endif
        Work w = work(a, l, &mine);
#pragma omp for schedule(dynamic, 1)
        for (i64 unit = 0; unit < units * a->kv_heads; unit++) {
            const i64 head = unit % a->kv_heads, part = unit / a->kv_heads - l->prompts;
            const i64 own[3] = {-1, part + l->prompts, part + l->prompts + 1}, *which = part < 0 ? own : l->part + 3 * part;
            const i64 *rows = part < 0 ? l->prompt : l->body; /* a prompt is a body that continues nothing */
            const i64 position = begin(a, l, qkv, which[0], head, 0, &w);
            for (i64 b = which[1]; b < which[2]; b++) {
                fill(a, qkv, head, rows[2 * b], rows[2 * b + 1], position, 0, &w.body, w.row);
                for (i64 g = 0; g < group; g++) forward(a, qkv, head * group + g, &w, out, lse);
            }
        }
    }
}

static void clear(const Heads *a, const Segment *s) {
    const i64 floats = up(s->n, PANEL) * up(a->width, PANEL);
    memset(s->dkeys, 0, sizeof(float) * floats);
    memset(s->dvalues, 0, sizeof(float) * floats);
}

/* dqkv from dout. shared [parts][kv_heads][2][longest prompt][padded width]: what bodies add to their prompts' keys and
 * values. dnorm [prompts + parts][kv_heads][2][width]: shares of the gradients of q_norm and k_norm. */
void move37_attend_back(const Heads *a, const Layout *l, const elem *qkv, const elem *out, const float *lse, const elem *dout,
                        elem *dqkv, float *shared, float *dnorm, float *scratch, i64 threads) {
    const i64 group = a->heads / a->kv_heads, each = move37_attention_scratch(a, l), heads = a->kv_heads;
    const i64 padded = up(a->width, PANEL), share = up(l->longest_prompt, PANEL) * padded;
#pragma omp parallel num_threads(threads)
    {
        float *mine = scratch;
#ifdef _OPENMP
        mine += omp_get_thread_num() * each;
#endif
        Work w = work(a, l, &mine);
        const Segment own = w.prompt;
#pragma omp for schedule(dynamic, 1)
        for (i64 unit = 0; unit < l->parts * heads; unit++) {
            const i64 head = unit % heads, *which = l->part + 3 * (unit / heads);
            float *dn = dnorm + (l->prompts * heads + unit) * 2 * a->width;
            const i64 position = begin(a, l, qkv, which[0], head, 1, &w);
            w.prompt.dkeys = shared + unit * 2 * share, w.prompt.dvalues = w.prompt.dkeys + share;
            clear(a, &w.prompt);
            for (i64 b = which[1]; b < which[2]; b++) {
                fill(a, qkv, head, l->body[2 * b], l->body[2 * b + 1], position, 1, &w.body, w.row);
                clear(a, &w.body);
                for (i64 g = 0; g < group; g++) backward(a, qkv, head * group + g, &w, out, lse, dout, dqkv, dn);
                finish(a, qkv, head, &w.body, dqkv, dn + a->width, w.row);
            }
        }
        w.prompt = own;
#pragma omp for schedule(dynamic, 1)
        for (i64 unit = 0; unit < l->prompts * heads; unit++) {
            const i64 head = unit % heads, prompt = unit / heads, *at = l->prompt + 2 * prompt;
            float *dn = dnorm + unit * 2 * a->width;
            begin(a, l, qkv, -1, head, 1, &w);
            fill(a, qkv, head, at[0], at[1], 0, 1, &w.body, w.row);
            clear(a, &w.body);
            for (i64 part = 0; part < l->parts; part++) {
                if (l->part[3 * part] != prompt) continue;
                const float *from = shared + (part * heads + head) * 2 * share;
                for (i64 i = 0; i < at[1] * padded; i++) w.body.dkeys[i] += from[i], w.body.dvalues[i] += from[share + i];
            }
            for (i64 g = 0; g < group; g++) backward(a, qkv, head * group + g, &w, out, lse, dout, dqkv, dn);
            finish(a, qkv, head, &w.body, dqkv, dn + a->width, w.row);
        }
    }
}

/* --------------------------------------------------------------------------------------------------- log-probs */

/* logp of each target, entropy and log-sum-exp of softmax(logits * inverse temperature), in nats; logits [m][vocabulary] */
void move37_pick(i64 m, i64 vocabulary, const float *logits, const int64_t *target, float inverse, float *logp,
                 float *entropy, float *lse) {
#pragma omp parallel for schedule(static)
    for (i64 i = 0; i < m; i++) {
        const float *row = logits + i * vocabulary;
        const i64 whole = vocabulary / LANES * LANES;
        float top = -INFINITY, sum = 0, weighted = 0;
        vec high = all(-INFINITY), sums = all(0), products = all(0);
        for (i64 j = 0; j < whole; j += LANES) high = larger(load(row + j), high);
        for (int j = 0; j < LANES; j++) top = high[j] > top ? high[j] : top;
        for (i64 j = whole; j < vocabulary; j++) top = row[j] > top ? row[j] : top;
        for (i64 j = 0; j < whole; j += LANES) {
            const vec x = (load(row + j) - top) * inverse, e = exponential(x);
            sums += e;
            products += e * x;
        }
        for (i64 j = whole; j < vocabulary; j++) {
            const float x = (row[j] - top) * inverse, e = expf(x);
            sum += e, weighted += e * x;
        }
        sum += total(sums), weighted += total(products);
        const float above = logf(sum);
        lse[i] = top * inverse + above;
        logp[i] = (row[target[i]] - top) * inverse - above;
        entropy[i] = above - weighted / sum;
    }
}

/* logits become d loss / d logits, where slope is d loss / d logp of the target */
void move37_unpick(i64 m, i64 vocabulary, float *logits, const int64_t *target, float inverse, const float *slope,
                   const float *lse, elem *dlogits) {
#pragma omp parallel for schedule(static)
    for (i64 i = 0; i < m; i++) {
        const float *row = logits + i * vocabulary, s = -slope[i] * inverse;
        elem *to = dlogits + i * vocabulary;
        const i64 whole = vocabulary / LANES * LANES;
        const float picked = (1.0f - expf(row[target[i]] * inverse - lse[i])) * slope[i] * inverse;
        for (i64 j = 0; j < whole; j += LANES) put(to + j, exponential(load(row + j) * inverse - lse[i]) * s);
        for (i64 j = whole; j < vocabulary; j++) put_one(to + j, expf(row[j] * inverse - lse[i]) * s);
        put_one(to + target[i], picked);
    }
}

i64 move37_panel(void) { return PANEL; }
