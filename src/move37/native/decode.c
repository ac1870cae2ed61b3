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

/* The same for the few queries of one row. Few sums wait for each other: here every second term has sums of its own, and
 * each is THIN vectors wide, so that enough of them are on their way. m is a constant where this is inlined */
enum { THIN = 4 };

static inline __attribute__((always_inline)) void thin(
    const int m, const float *a, i64 lda, i64 k, const float *b, i64 ldb, float *c, i64 ldc, int add) {
    vec even[2][THIN], odd[2][THIN];
#pragma GCC unroll 2
    for (int i = 0; i < m; i++)
#pragma GCC unroll 4
        for (int v = 0; v < THIN; v++) even[i][v] = add ? load(c + i * ldc + v * LANES) : all(0), odd[i][v] = all(0);
    for (i64 j = 0; j + 1 < k; j += 2)
#pragma GCC unroll 4
        for (int v = 0; v < THIN; v++) {
            const vec one = load(b + j * ldb + v * LANES), two = load(b + (j + 1) * ldb + v * LANES);
#pragma GCC unroll 2
            for (int i = 0; i < m; i++) even[i][v] += all(a[i * lda + j]) * one, odd[i][v] += all(a[i * lda + j + 1]) * two;
        }
#pragma GCC unroll 2
    for (int i = 0; i < m; i++)
#pragma GCC unroll 4
        for (int v = 0; v < THIN; v++) {
            if (k % 2) even[i][v] += all(a[i * lda + k - 1]) * load(b + (k - 1) * ldb + v * LANES);
            store(c + i * ldc + v * LANES, even[i][v] + odd[i][v]);
        }
}

/* [few][columns] in pieces of THIN vectors, what is left of the columns by panels */
static void few(i64 m, const float *a, i64 lda, i64 k, const float *b, i64 ldb, i64 columns, float *c, i64 ldc, int add) {
    i64 d = 0;
    for (; d + THIN * LANES <= columns; d += THIN * LANES) {
        i64 i = 0;
        for (; i + 2 <= m; i += 2) thin(2, a + i * lda, lda, k, b + d, ldb, c + i * ldc + d, ldc, add);
        if (i < m) thin(1, a + i * lda, lda, k, b + d, ldb, c + i * ldc + d, ldc, add);
    }
    for (; d < columns; d += PANEL) panel(m, a, lda, k, b + d, ldb, c + d, ldc, add);
}

/* What one row sees of itself: all heads of a page, one after the other, as they lie in the memory. score [kv_heads] at `apart` */
static void own_scores(const Model *m, i64 layer, const float *q, i64 apart_q, float *const *pages, i64 n, float *score, i64 apart,
                       i64 lds) {
    for (i64 t = 0; t < n; t += PAGE)
        for (i64 h = 0; h < m->kv_heads; h++) {
            const float *keys = pages[t / PAGE] + place(m, layer, h).keys;
            few(m->heads / m->kv_heads, q + h * apart_q, m->width, m->width, keys, PAGE, least(PAGE, up(n - t, PANEL)),
                score + h * apart + t, lds, 0);
        }
}

static void own_gather(const Model *m, i64 layer, const float *p, i64 apart, i64 ldp, float *const *pages, i64 n, float *sum,
                       i64 apart_sum) {
    for (i64 t = 0; t < n; t += PAGE)
        for (i64 h = 0; h < m->kv_heads; h++) {
            const Place at = place(m, layer, h);
            few(m->heads / m->kv_heads, p + h * apart + t, ldp, least(PAGE, n - t), pages[t / PAGE] + at.values, at.padded,
                at.padded, sum + h * apart_sum, at.padded, 1);
        }
}

/* Put a row's key and value into its page */
static void remember(const Model *m, i64 layer, i64 own, const float *qkv, float *page) {
    for (i64 h = 0; h < m->kv_heads; h++) {
        const float *key = qkv + (m->heads + h) * m->width, *value = key + m->kv_heads * m->width;
        const Place at = place(m, layer, h);
        for (i64 d = 0; d < m->width; d++) page[at.keys + d * PAGE + own % PAGE] = key[d];
        memcpy(page + at.values + own % PAGE * at.padded, value, sizeof(float) * m->width);
    }
}

/* Floats of scratch for a run */
static i64 attend_scratch(const Model *m, i64 pages_per_row) {
    return RUN * m->heads * (m->width + up(m->width, PANEL) + pages_per_row * PAGE + PANEL);
}

/* Attention of rows that continue one prompt. q [rows][ldq] holds a row's queries, key and value side by side; out its sums.
 * Queries, sums and scores are [kv_heads][rows][group][...] */
static void attend(const Model *m, const Batch *b, i64 layer, i64 first, i64 rows, const float *q, i64 ldq, float *out, i64 ldo,
                   float *scratch) {
    const i64 group = m->heads / m->kv_heads, width = m->width, padded = up(width, PANEL), pairs = rows * group;
    const i64 prompt = b->prompt[first], before = up(prompt, PAGE), lds = b->pages_per_row * PAGE + PANEL;
    float *const *pages = b->pages + first * b->pages_per_row;
    float *query = scratch, *sum = query + RUN * m->heads * width, *score = sum + RUN * m->heads * padded;
    const float scale = 1.0f / sqrtf((float)width);
    for (i64 h = 0; h < m->kv_heads; h++)
        for (i64 i = 0; i < rows; i++)
            for (i64 d = 0; d < group * width; d++)
                query[(h * pairs + i * group) * width + d] = q[i * ldq + h * group * width + d] * scale;
    memset(sum, 0, sizeof(float) * m->heads * rows * padded);
    for (i64 h = 0; h < m->kv_heads; h++)
        scores(pairs, query + h * pairs * width, width, pages, place(m, layer, h).keys, prompt, score + h * pairs * lds, lds);
    for (i64 i = 0; i < rows; i++) {
        const i64 own = b->own[first + i] + 1, at = i * group;
        float *const *mine = pages + i * b->pages_per_row + before / PAGE;
        remember(m, layer, own - 1, q + i * ldq, mine[(own - 1) / PAGE]);
        own_scores(m, layer, query + at * width, pairs * width, mine, own, score + at * lds + before, pairs * lds, lds);
        for (i64 h = 0; h < m->heads; h++) {
            float *part = score + (h / group * pairs + at + h % group) * lds;
            for (i64 t = prompt; t < before; t++) part[t] = -INFINITY;
            const float whole = softmax(part, before + own);
            for (i64 t = 0; t < before + own; t += LANES) store(part + t, load(part + t) / whole);
        }
        own_gather(m, layer, score + at * lds + before, pairs * lds, lds, mine, own, sum + at * padded, pairs * padded);
    }
    for (i64 h = 0; h < m->kv_heads; h++) {
        gather(pairs, score + h * pairs * lds, lds, pages, place(m, layer, h), prompt, sum + h * pairs * padded);
        for (i64 i = 0; i < pairs; i++)
            memcpy(out + i / group * ldo + (h * group + i % group) * width, sum + (h * pairs + i) * padded, sizeof(float) * width);
    }
}

/* Rotate queries and keys of one row */
static void prepare(const Model *m, const Batch *b, const Layer *w, i64 row, float *qkv) {
    const i64 width = m->width, position = b->prompt[row] + b->own[row];
    const float *cosine = b->cosine + position * width, *sine = b->sine + position * width;
    if (w->qkv_bias)
        for (i64 i = 0; i < (m->heads + 2 * m->kv_heads) * width; i++) qkv[i] += w->qkv_bias[i];
    for (i64 h = 0; h < m->heads; h++) turn(qkv + h * width, w->q_norm, m->eps, width, cosine, sine);
    for (i64 h = 0; h < m->kv_heads; h++) turn(qkv + (m->heads + h) * width, w->k_norm, m->eps, width, cosine, sine);
}

static void attention(const Model *m, const Batch *b, i64 layer, i64 first, i64 rows, float *qkv, i64 ldq, float *out, i64 ldo,
                      float *scratch) {
    for (i64 i = 0; i < rows; i++) prepare(m, b, &m->layer[layer], first + i, qkv + i * ldq);
    for (i64 i = 0, run; i < rows; i += run) {
        for (run = 1; run < RUN && i + run < rows; run++)
            if (b->pages[(first + i + run) * b->pages_per_row] != b->pages[(first + i) * b->pages_per_row]) break;
        attend(m, b, layer, first + i, run, qkv + i * ldq, ldq, out + i * ldo, ldo, scratch);
    }
}

static i64 widest(const Model *m) { return up((m->heads + 2 * m->kv_heads) * m->width, PANEL); }

/* Floats of scratch one thread needs for its share of `rows` */
i64 move37_scratch(const Model *m, i64 rows, i64 pages_per_row) {
    const i64 share = (rows + m->threads - 1) / m->threads, hidden = up(m->hidden, PANEL);
    const i64 tile = TILE * (hidden + widest(m) + up(m->heads * m->width, PANEL) + up(m->ffn, PANEL) + 2 * PANEL);
    return share * hidden + tile + attend_scratch(m, pages_per_row) + PANEL;
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

/* ------------------------------------------------------------------------------------------------------ drawing */

enum { SUM = 64, LOGITS = 1 << 16 }; /* probabilities of one partial sum; logits a thread holds at once, or BLOCK rows of them */

static i64 rows_at_once(i64 vocabulary) {
    const i64 rows = LOGITS / up(vocabulary, SUM) / BLOCK * BLOCK;
    return rows < BLOCK ? BLOCK : least(rows, TILE);
}

/* Floats of scratch of one thread */
i64 move37_draw_scratch(i64 vocabulary) { return rows_at_once(vocabulary) * up(vocabulary, SUM) + 2 * (up(vocabulary, SUM) / SUM + 1); }

/* Inverts the cumulative distribution of softmax(score * inverse) at `uniform`; the best score where inverse is 0. Writes the
 * token's log-prob, at inverse 1 where it is the best. `score` is overwritten; padded to whole SUMs; `sums` holds one each */
static i64 invert(float *score, i64 n, float inverse, double uniform, float *logprob, double *sums) {
    const i64 padded = up(n, SUM);
    const float scale = inverse > 0 ? inverse : 1;
    for (i64 i = n; i < padded; i++) score[i] = -INFINITY;
    vec high = load(score);
    for (i64 i = LANES; i < padded; i += LANES) high = larger(load(score + i), high);
    float top = high[0];
    for (int i = 1; i < LANES; i++) top = high[i] > top ? high[i] : top;
    double whole = 0;
    i64 best = 0;
    while (best < n - 1 && !(score[best] >= top)) best++;
    for (i64 i = 0; i < padded; i += SUM) {
        vec part = all(0);
        for (i64 j = i; j < i + SUM; j += LANES) {
            const vec e = exponential((load(score + j) - top) * scale);
            store(score + j, e);
            part += e;
        }
        sums[i / SUM] = whole += total(part);
    }
    for (i64 i = n; i < padded; i++) score[i] = 0; /* exp is cut at e^-87, not 0 */
    i64 token = best;
    if (inverse > 0) {
        const double threshold = uniform * whole;
        i64 at = 0;
        while (at < padded / SUM - 1 && !(sums[at] > threshold)) at++;
        double below = at ? sums[at - 1] : 0;
        token = -1;
        for (i64 i = at * SUM; i < least(n, (at + 1) * SUM); i++) {
            below += score[i];
            if (score[i] > 0) token = i; /* the last one that can be drawn, should rounding leave the threshold above all */
            if (below > threshold) break;
        }
    }
    *logprob = token < 0 ? NAN : logf(score[token]) - (float)log(whole);
    return token < 0 ? 0 : token;
}

/* A token for each row of states [rows][hidden]: see `invert`. head: packed [vocabulary / PANEL][hidden][PANEL] */
void move37_draw(i64 rows, i64 hidden, i64 vocabulary, const float *states, const float *head, float inverse, const double *uniform,
                 int64_t *token, float *logprob, float *scratch, i64 threads) {
    const i64 each = move37_draw_scratch(vocabulary), tile = rows_at_once(vocabulary), padded = up(vocabulary, SUM);
#ifdef _OPENMP
#pragma omp parallel for num_threads(threads) schedule(static, 1)
#endif
    for (i64 t = 0; t < threads; t++) {
        float *score = scratch + t * each;
        double *sums = (double *)(score + tile * padded);
        for (i64 first = rows * t / threads, end = rows * (t + 1) / threads; first < end; first += tile) {
            const i64 some = least(tile, end - first);
            linear(some, states + first * hidden, hidden, hidden, head, vocabulary, score, padded, 0);
            for (i64 i = 0; i < some; i++)
                token[first + i] = invert(score + i * padded, vocabulary, inverse, uniform[first + i], logprob + first + i, sums);
        }
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
