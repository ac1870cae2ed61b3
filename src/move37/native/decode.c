/* One decoding step of a Llama / Qwen2 / Qwen3 decoder on a CPU, in float32: a token per row in, a hidden state out.
 *
 * Each thread takes its share of the rows through all layers, so threads meet once per step and not once per matrix.
 * Matrices are packed into panels of PANEL columns. Keys and values live in pages of PAGE positions; the pages of a
 * prompt are shared by the responses that continue it, and read once for RUN of them.
 *
 * A page holds, layer by layer: keys [kv_heads][width][PAGE], values [kv_heads][PAGE][padded(width)].
 */

enum { PAGE = 32, RUN = 8, TILE = 96 };

typedef struct {
    const float *attention_norm, *qkv, *qkv_bias, *q_norm, *k_norm, *out, *mlp_norm, *gate_up, *down;
} Layer;

typedef struct {
    i64 hidden, layers, heads, kv_heads, width, ffn, threads;
    float eps;
    const float *embedding; /* [vocabulary][hidden] */
    const float *norm;
    const Layer *layer; /* matrices packed */
} Model;

typedef struct {
    i64 rows, pages_per_row;
    const int64_t *tokens; /* [rows] */
    const int32_t *prompt; /* [rows] tokens of the prompt */
    const int32_t *own;    /* [rows] tokens of the response that are in the cache already */
    float *const *pages;   /* [rows][pages_per_row]: those of the prompt, then those of the response */
    const float *cosine, *sine; /* [positions][width] */
    float *hidden;              /* [rows][hidden], the result */
    float *scratch;             /* threads * move37_scratch floats */
} Batch;

/* c[m][n] (+)= a[m][k] W, W packed [n / PANEL][k][PANEL]; rows of c have room for whole panels */
static void linear(i64 m, const float *a, i64 lda, i64 k, const float *w, i64 n, float *c, i64 ldc, int add) {
    for (i64 j = 0; j < n; j += PANEL, w += k * PANEL) panel(m, a, lda, k, w, PANEL, c + j, ldc, add);
}

/* act[m][ffn] = silu(a Wgate) * (a Wup); panels of both take turns in w */
static void gated(i64 m, const float *a, i64 lda, i64 k, const float *w, i64 ffn, float *act, i64 ld, float *gate, float *mid) {
    for (i64 j = 0; j < ffn; j += PANEL, w += 2 * k * PANEL) {
        panel(m, a, lda, k, w, PANEL, gate, PANEL, 0);
        panel(m, a, lda, k, w + k * PANEL, PANEL, mid, PANEL, 0);
        for (i64 i = 0; i < m; i++)
            for (int v = 0; v < PANEL; v += LANES) {
                const vec g = load(gate + i * PANEL + v);
                store(act + i * ld + j + v, g * load(mid + i * PANEL + v) / (1.0f + exponential(-g)));
            }
    }
}

static void normalise(const float *x, const float *weight, float eps, i64 n, float *y) {
    vec squares = all(0);
    for (i64 i = 0; i < n; i += LANES) squares += load(x + i) * load(x + i);
    const float scale = 1.0f / sqrtf(total(squares) / (float)n + eps);
    for (i64 i = 0; i < n; i += LANES) store(y + i, load(x + i) * scale * load(weight + i));
}

/* One head, in place: normalised (Qwen3), then rotated to its position */
static void turn(float *x, const float *weight, float eps, i64 width, const float *cosine, const float *sine) {
    if (weight) normalise(x, weight, eps, width, x);
    const i64 half = width / 2;
    for (i64 i = 0; i < half; i++) {
        const float a = x[i], b = x[i + half];
        x[i] = a * cosine[i] - b * sine[i];
        x[i + half] = b * cosine[i + half] + a * sine[i + half];
    }
}

/* Probabilities, times a common factor, of n scores in place, padded to whole vectors; their sum */
static float softmax(float *score, i64 n) {
    const i64 padded = up(n, LANES);
    for (i64 i = n; i < padded; i++) score[i] = -INFINITY;
    vec high = load(score);
    for (i64 i = LANES; i < padded; i += LANES) high = larger(load(score + i), high);
    float top = high[0];
    for (int i = 1; i < LANES; i++) top = high[i] > top ? high[i] : top;
    vec sum = all(0);
    for (i64 i = 0; i < padded; i += LANES) {
        const vec e = exponential(load(score + i) - top);
        store(score + i, e);
        sum += e;
    }
    return total(sum);
}

typedef struct { /* where keys or values of a layer and a head stand in a page */
    i64 keys, values, padded;
} Place;

static Place place(const Model *m, i64 layer, i64 head) {
    const i64 padded = up(m->width, PANEL), per_head = PAGE * (m->width + padded);
    const i64 start = layer * m->kv_heads * per_head;
    return (Place){start + head * PAGE * m->width, start + m->kv_heads * PAGE * m->width + head * PAGE * padded, padded};
}

/* Scores of `pairs` queries against n positions in pages, or, with `values`, the weighted sums of their values */
static void scores(i64 pairs, const float *q, i64 width, float *const *pages, i64 keys, i64 n, float *score, i64 lds) {
    for (i64 t = 0; t < n; t += PANEL)
        panel(pairs, q, width, width, pages[t / PAGE] + keys + t % PAGE, PAGE, score + t, lds, 0);
}

static void gather(i64 pairs, const float *p, i64 ldp, float *const *pages, Place at, i64 n, float *sum) {
    for (i64 t = 0; t < n; t += PAGE)
        for (i64 d = 0; d < at.padded; d += PANEL)
            panel(pairs, p + t, ldp, least(PAGE, n - t), pages[t / PAGE] + at.values + d, at.padded, sum + d, at.padded, 1);
}

/* Attention of rows that continue one prompt, for one key/value head.
 * q [rows][ldq] holds the group's queries side by side; out likewise. */
static void attend(const Model *m, const Batch *b, i64 first, i64 rows, Place at, const float *q, i64 ldq, float *out, i64 ldo,
                   float *scratch) {
    const i64 group = m->heads / m->kv_heads, width = m->width, pairs = rows * group;
    const i64 prompt = b->prompt[first], before = up(prompt, PAGE), lds = b->pages_per_row * PAGE + PANEL;
    float *const *pages = b->pages + first * b->pages_per_row;
    float *query = scratch, *sum = query + RUN * group * width, *score = sum + RUN * group * at.padded;
    const float scale = 1.0f / sqrtf((float)width);
    for (i64 i = 0; i < rows; i++)
        for (i64 d = 0; d < group * width; d++) query[i * group * width + d] = q[i * ldq + d] * scale;
    memset(sum, 0, sizeof(float) * pairs * at.padded);
    scores(pairs, query, width, pages, at.keys, prompt, score, lds);
    for (i64 i = 0; i < rows; i++) {
        const i64 own = b->own[first + i] + 1;
        float *const *mine = pages + i * b->pages_per_row + before / PAGE;
        float *part = score + i * group * lds;
        scores(group, query + i * group * width, width, mine, at.keys, own, part + before, lds);
        for (i64 g = 0; g < group; g++) {
            for (i64 t = prompt; t < before; t++) part[g * lds + t] = -INFINITY;
            const float whole = softmax(part + g * lds, before + own);
            for (i64 t = 0; t < before + own; t += LANES) store(part + g * lds + t, load(part + g * lds + t) / whole);
        }
        gather(group, part + before, lds, mine, at, own, sum + i * group * at.padded);
    }
    gather(pairs, score, lds, pages, at, prompt, sum);
    for (i64 i = 0; i < pairs; i++)
        memcpy(out + (i / group) * ldo + (i % group) * width, sum + i * at.padded, sizeof(float) * width);
}

/* Rotate queries and keys of one row and put its key and value into its page */
static void remember(const Model *m, const Batch *b, const Layer *w, i64 row, i64 layer, float *qkv) {
    const i64 width = m->width, own = b->own[row], position = b->prompt[row] + own;
    const float *cosine = b->cosine + position * width, *sine = b->sine + position * width;
    float *page = b->pages[row * b->pages_per_row + up(b->prompt[row], PAGE) / PAGE + own / PAGE];
    if (w->qkv_bias)
        for (i64 i = 0; i < (m->heads + 2 * m->kv_heads) * width; i++) qkv[i] += w->qkv_bias[i];
    for (i64 h = 0; h < m->heads; h++) turn(qkv + h * width, w->q_norm, m->eps, width, cosine, sine);
    for (i64 h = 0; h < m->kv_heads; h++) {
        float *key = qkv + (m->heads + h) * width, *value = key + m->kv_heads * width;
        const Place at = place(m, layer, h);
        turn(key, w->k_norm, m->eps, width, cosine, sine);
        for (i64 d = 0; d < width; d++) page[at.keys + d * PAGE + own % PAGE] = key[d];
        memcpy(page + at.values + own % PAGE * at.padded, value, sizeof(float) * width);
    }
}

static void attention(const Model *m, const Batch *b, i64 layer, i64 first, i64 rows, float *qkv, i64 ldq, float *out, i64 ldo,
                      float *scratch) {
    const i64 group = m->heads / m->kv_heads;
    for (i64 i = 0; i < rows; i++) remember(m, b, &m->layer[layer], first + i, layer, qkv + i * ldq);
    for (i64 i = 0, run; i < rows; i += run) {
        for (run = 1; run < RUN && i + run < rows; run++)
            if (b->pages[(first + i + run) * b->pages_per_row] != b->pages[(first + i) * b->pages_per_row]) break;
        for (i64 h = 0; h < m->kv_heads; h++) {
            const i64 at = h * group * m->width;
            attend(m, b, first + i, run, place(m, layer, h), qkv + i * ldq + at, ldq, out + i * ldo + at, ldo, scratch);
        }
    }
}

static i64 widest(const Model *m) { return up((m->heads + 2 * m->kv_heads) * m->width, PANEL); }

/* Floats of scratch one thread needs for its share of `rows` */
i64 move37_scratch(const Model *m, i64 rows, i64 pages_per_row) {
    const i64 share = (rows + m->threads - 1) / m->threads, hidden = up(m->hidden, PANEL);
    const i64 group = m->heads / m->kv_heads, padded = up(m->width, PANEL);
    const i64 tile = TILE * (hidden + widest(m) + up(m->heads * m->width, PANEL) + up(m->ffn, PANEL) + 2 * PANEL);
    return share * hidden + tile + RUN * group * (m->width + padded + pages_per_row * PAGE + PANEL) + PANEL;
}

/* Rows first .. first + rows through all layers, by one thread */
static void decode(const Model *m, const Batch *b, i64 first, i64 rows, float *scratch) {
    const i64 hidden = up(m->hidden, PANEL), wide = widest(m), heads = up(m->heads * m->width, PANEL), ffn = up(m->ffn, PANEL);
    const i64 parts = (rows + TILE - 1) / TILE, tile = (rows + parts - 1) / parts;
    float *x = scratch, *y = x + rows * hidden, *qkv = y + tile * hidden, *mixed = qkv + tile * wide;
    float *act = mixed + tile * heads, *gate = act + tile * ffn, *mid = gate + tile * PANEL, *rest = mid + tile * PANEL;
    for (i64 i = 0; i < rows; i++) {
        memcpy(x + i * hidden, m->embedding + b->tokens[first + i] * m->hidden, sizeof(float) * m->hidden);
        memset(x + i * hidden + m->hidden, 0, sizeof(float) * (hidden - m->hidden));
    }
    for (i64 l = 0; l < m->layers; l++) {
        const Layer *w = &m->layer[l];
        for (i64 t = 0; t < rows; t += tile) {
            const i64 some = least(tile, rows - t);
            float *own = x + t * hidden;
            for (i64 i = 0; i < some; i++) normalise(own + i * hidden, w->attention_norm, m->eps, m->hidden, y + i * hidden);
            linear(some, y, hidden, m->hidden, w->qkv, wide, qkv, wide, 0);
            attention(m, b, l, first + t, some, qkv, wide, mixed, heads, rest);
            linear(some, mixed, heads, m->heads * m->width, w->out, m->hidden, own, hidden, 1);
            for (i64 i = 0; i < some; i++) normalise(own + i * hidden, w->mlp_norm, m->eps, m->hidden, y + i * hidden);
            gated(some, y, hidden, m->hidden, w->gate_up, m->ffn, act, ffn, gate, mid);
            linear(some, act, ffn, m->ffn, w->down, m->hidden, own, hidden, 1);
        }
    }
    for (i64 i = 0; i < rows; i++) normalise(x + i * hidden, m->norm, m->eps, m->hidden, b->hidden + (first + i) * m->hidden);
}

/* A token for each row; each row's key and value are added to its pages */
void move37_decode(const Model *m, const Batch *b) {
    const i64 each = move37_scratch(m, b->rows, b->pages_per_row);
#ifdef _OPENMP
#pragma omp parallel for num_threads(m->threads) schedule(static, 1)
#endif
    for (i64 t = 0; t < m->threads; t++) {
        const i64 first = b->rows * t / m->threads, end = b->rows * (t + 1) / m->threads;
        if (first < end) decode(m, b, first, end - first, b->scratch + t * each);
    }
}

/* [n][k] row-major -> panels [n / PANEL][k][PANEL]; with `pair`, panels of the first and the second half take turns */
void move37_pack(const float *w, i64 n, i64 k, i64 pair, float *packed) {
    const i64 half = pair ? n / 2 : n, panels = (half + PANEL - 1) / PANEL;
    for (i64 p = 0; p < panels; p++)
        for (i64 s = 0; s <= pair; s++, packed += k * PANEL)
            for (i64 c = 0; c < PANEL; c++) {
                const i64 column = p * PANEL + c;
                const float *row = w + (s * half + column) * k;
                for (i64 i = 0; i < k; i++) packed[i * PANEL + c] = column < half ? row[i] : 0;
            }
}

i64 move37_panel(void) { return PANEL; }
i64 move37_page(void) { return PAGE; }
