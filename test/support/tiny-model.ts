/**
 * A model of the llama architecture that any llama.cpp loads, in some 300 KB: two layers of random weights over a
 * vocabulary of bytes. What it says makes no sense, and it is computed as any model's words are.
 *
 * GGUF 3: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 */
const WIDTH = 64;
const HEADS = 2;
const LAYERS = 2;
const FEED_FORWARD = 128;
const CONTEXT = 256;
const ALIGNMENT = 32;

const TYPE = { uint32: 4, int32: 5, float32: 6, string: 8, array: 9 } as const;
const TENSOR_F32 = 0;
/** Of the tokenizer that llama.cpp calls SPM. */
const TOKEN = { normal: 1, unknown: 2, control: 3, byte: 6 } as const;

interface Tensor {
  readonly name: string;
  /** The first changes fastest. */
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

export function makeTinyModel(): Buffer {
  const tokens = vocabulary();
  const metadata = [
    text('general.architecture', 'llama'),
    text('general.name', 'tiny'),
    uint32('general.alignment', ALIGNMENT),
    uint32('llama.context_length', CONTEXT),
    uint32('llama.embedding_length', WIDTH),
    uint32('llama.block_count', LAYERS),
    uint32('llama.feed_forward_length', FEED_FORWARD),
    uint32('llama.attention.head_count', HEADS),
    uint32('llama.attention.head_count_kv', HEADS),
    uint32('llama.rope.dimension_count', WIDTH / HEADS),
    uint32('llama.vocab_size', tokens.length),
    entry('llama.attention.layer_norm_rms_epsilon', TYPE.float32, float32(1e-5)),
    text('tokenizer.ggml.model', 'llama'),
    list(
      'tokenizer.ggml.tokens',
      TYPE.string,
      tokens.map(({ word }) => string(word)),
    ),
    list(
      'tokenizer.ggml.scores',
      TYPE.float32,
      tokens.map((_, index) => float32(-index)),
    ),
    list(
      'tokenizer.ggml.token_type',
      TYPE.int32,
      tokens.map(({ type }) => int32(type)),
    ),
    uint32('tokenizer.ggml.unknown_token_id', 0),
    uint32('tokenizer.ggml.bos_token_id', 1),
    uint32('tokenizer.ggml.eos_token_id', 2),
  ];
  const tensors = makeTensors(tokens.length);
  const infos: Buffer[] = [];
  const data: Buffer[] = [];
  let offset = 0;
  for (const { name, shape, values } of tensors) {
    infos.push(string(name), int32(shape.length), ...shape.map(uint64), int32(TENSOR_F32), uint64(offset));
    const bytes = padded(Buffer.from(values.buffer, values.byteOffset, values.byteLength));
    data.push(bytes);
    offset += bytes.length;
  }
  const head = [Buffer.from('GGUF'), int32(3), uint64(tensors.length), uint64(metadata.length)];
  return Buffer.concat([padded(Buffer.concat([...head, ...metadata, ...infos])), ...data]);
}

function vocabulary(): readonly { readonly word: string; readonly type: number }[] {
  const bytes = Array.from({ length: 256 }, (_, byte) => ({
    word: `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`,
    type: TOKEN.byte,
  }));
  return [
    { word: '<unk>', type: TOKEN.unknown },
    { word: '<s>', type: TOKEN.control },
    { word: '</s>', type: TOKEN.control },
    ...bytes,
    // A space, as SentencePiece writes it.
    { word: '\u2581', type: TOKEN.normal },
    ...['e', 't', 'a', 'o', 'i', 'n', 's', 'h', 'r', 'd', 'l', 'u'].map((word) => ({
      word,
      type: TOKEN.normal,
    })),
  ];
}

function makeTensors(words: number): readonly Tensor[] {
  // mulberry32: the same weights every time.
  let state = 0x1e57_ab1e;
  const random = (): number => {
    state = (state + 0x6d2b_79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32 - 0.5;
  };
  const size = (shape: readonly number[]): number => shape.reduce((product, one) => product * one, 1);
  const weights = (name: string, ...shape: number[]): Tensor => ({
    name: `${name}.weight`,
    shape,
    values: Float32Array.from({ length: size(shape) }, random),
  });
  const norm = (name: string): Tensor => ({
    name: `${name}.weight`,
    shape: [WIDTH],
    values: new Float32Array(WIDTH).fill(1),
  });
  const layers = Array.from({ length: LAYERS }, (_, index) => {
    const of = `blk.${index}`;
    return [
      norm(`${of}.attn_norm`),
      ...['attn_q', 'attn_k', 'attn_v', 'attn_output'].map((name) => weights(`${of}.${name}`, WIDTH, WIDTH)),
      norm(`${of}.ffn_norm`),
      weights(`${of}.ffn_gate`, WIDTH, FEED_FORWARD),
      weights(`${of}.ffn_up`, WIDTH, FEED_FORWARD),
      weights(`${of}.ffn_down`, FEED_FORWARD, WIDTH),
    ];
  });
  return [
    weights('token_embd', WIDTH, words),
    ...layers.flat(),
    norm('output_norm'),
    weights('output', WIDTH, words),
  ];
}

function entry(key: string, type: number, value: Buffer): Buffer {
  return Buffer.concat([string(key), int32(type), value]);
}

function text(key: string, value: string): Buffer {
  return entry(key, TYPE.string, string(value));
}

function uint32(key: string, value: number): Buffer {
  return entry(key, TYPE.uint32, int32(value));
}

function list(key: string, type: number, values: readonly Buffer[]): Buffer {
  return entry(key, TYPE.array, Buffer.concat([int32(type), uint64(values.length), ...values]));
}

function string(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([uint64(bytes.length), bytes]);
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return bytes;
}

function uint64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function float32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return bytes;
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((ALIGNMENT - (bytes.length % ALIGNMENT)) % ALIGNMENT)]);
}
