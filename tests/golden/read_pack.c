/* Reads the golden pack without Python, and holds a plain LSTM forward to it: read_pack pack.json pack.safetensors
   Prints "name ok" or "name wrong" for every case that it runs; the exit status is the number of wrong ones.  C99. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *read_all(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    if (!file) { perror(path); exit(255); }
    fseek(file, 0, SEEK_END); *size = (size_t)ftell(file); rewind(file);
    char *all = malloc(*size + 1);
    if (fread(all, 1, *size, file) != *size) exit(255);
    all[*size] = 0; fclose(file);
    return all;
}

static char *header; /* of the safetensors file: {"CASE/ARRAY":{"dtype":..., "data_offsets":[begin, end]}, ...} */
static char *data;

/* The array of a case, or NULL if it has none. */
static const double *array(const char *name, const char *what) {
    char key[400], *at;
    snprintf(key, sizeof key, "\"%s/%s\"", name, what);
    if (!(at = strstr(header, key))) return NULL;
    return (const double *)(data + strtoull(strchr(strstr(at, "data_offsets"), '[') + 1, NULL, 10));
}

/* What stands behind "key": in a line of the index. */
static const char *member(const char *line, const char *key) {
    char quoted[80];
    snprintf(quoted, sizeof quoted, "\"%s\": ", key);
    const char *at = strstr(line, quoted);
    return at ? at + strlen(quoted) : "";
}

static double sigmoid(double a) { return 1.0 / (1.0 + exp(-a)); }

/* One layer of one direction; returns the largest error of y and of the final state. */
static double lstm_error(const char *name, int T, int B, int I, int H, int reverse) {
    const double *x = array(name, "x"), *W = array(name, "weights/0.fw.W_ih"), *U = array(name, "weights/0.fw.W_hh"),
                 *b = array(name, "weights/0.fw.b"), *y = array(name, "y"), *h_last = array(name, "state/0.fw.h"),
                 *c_last = array(name, "state/0.fw.c"), *h0 = array(name, "state0/0.fw.h"), *c0 = array(name, "state0/0.fw.c");
    const unsigned char *mask = (const unsigned char *)array(name, "mask");
    double worst = 0.0, h[64], c[64], a[256];
    for (int row = 0; row < B; row++) {
        for (int j = 0; j < H; j++) { h[j] = h0 ? h0[row * H + j] : 0.0; c[j] = c0 ? c0[row * H + j] : 0.0; }
        for (int step = 0; step < T; step++) {
            int t = reverse ? T - 1 - step : step, real = !mask || mask[t * B + row];
            for (int k = 0; real && k < 4 * H; k++) {
                a[k] = b[k];
                for (int i = 0; i < I; i++) a[k] += x[(t * B + row) * I + i] * W[i * 4 * H + k];
                for (int j = 0; j < H; j++) a[k] += h[j] * U[j * 4 * H + k];
            }
            for (int j = 0; j < H; j++) {
                if (real) {
                    c[j] = sigmoid(a[H + j]) * c[j] + sigmoid(a[j]) * tanh(a[2 * H + j]);
                    h[j] = sigmoid(a[3 * H + j]) * tanh(c[j]);
                }
                worst = fmax(worst, fabs((real ? h[j] : 0.0) - y[(t * B + row) * H + j]));
            }
        }
        for (int j = 0; j < H; j++) worst = fmax(worst, fmax(fabs(h[j] - h_last[row * H + j]), fabs(c[j] - c_last[row * H + j])));
    }
    return worst;
}

int main(int argc, char **argv) {
    size_t size;
    if (argc != 3) { fprintf(stderr, "read_pack pack.json pack.safetensors\n"); return 255; }
    char *index = read_all(argv[1], &size), *file = read_all(argv[2], &size);
    uint64_t length;
    memcpy(&length, file, 8); /* little-endian */
    header = file + 8; data = header + length; data[-1] = 0; /* the header ends in spaces, or in a brace that nobody needs */
    int wrong = 0;
    for (char *line = strtok(index, "\n"); line; line = strtok(NULL, "\n")) { /* one case on each line */
        char name[200];
        int one_way = strncmp(member(line, "direction"), "\"bi", 3) != 0, plain = strncmp(member(line, "options"), "{}", 2) == 0;
        if (sscanf(member(line, "name"), "\"%199[^\"]", name) != 1 || strncmp(member(line, "cell"), "\"lstm\"", 6)) continue;
        if (!plain || !one_way || atoi(member(line, "layers")) != 1) continue;
        int T = atoi(member(line, "T")), B = atoi(member(line, "B")), I = atoi(member(line, "I")), H = atoi(member(line, "H"));
        const char *allowed = strstr(member(line, "tolerance"), "\"float64\"");
        double room = fmin(atof(member(allowed, "y")), atof(member(allowed, "state")));
        int right = lstm_error(name, T, B, I, H, strncmp(member(line, "direction"), "\"rev", 4) == 0) <= room;
        printf("%s %s\n", name, right ? "ok" : "wrong");
        wrong += !right;
    }
    return wrong;
}
