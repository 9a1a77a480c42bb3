import Silicon.Sha

/-!
# An executable SHA-256, and the published vectors

Schedule, padding and chaining of FIPS 180-4, evaluated by the kernel on the vectors of NIST.
-/

noncomputable section

namespace Silicon

/-- A byte. -/
abbrev Byte := BitVec 8

/-- The round constants of FIPS 180-4, §4.2.2. -/
def roundConstants : List W :=
    [0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1,
     0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3,
     0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
     0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
     0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
     0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
     0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
     0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
     0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
     0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
     0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2]

/-- The initial chaining value of FIPS 180-4, §5.3.3. Python: `tpf.sha256.INITIAL`. -/
def initial : State :=
    ⟨0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c,
     0x1f83d9ab, 0x5be0cd19⟩

/-- The function σ0 of FIPS 180-4. -/
def smallSigma0 (x : W) : W := rotate x 7 ^^^ rotate x 18 ^^^ (x >>> 3)

/-- The function σ1 of FIPS 180-4. -/
def smallSigma1 (x : W) : W := rotate x 17 ^^^ rotate x 19 ^^^ (x >>> 10)

/-- The next schedule word; `l` are the words before it, the newest first. -/
def nextWord (l : List W) : W :=
  l.getD 15 0 + smallSigma0 (l.getD 14 0) + l.getD 6 0 + smallSigma1 (l.getD 1 0)

/-- `n` more schedule words, the newest first. -/
def extend : Nat → List W → List W
  | 0, l => l
  | n + 1, l => extend n (nextWord l :: l)

/-- The 64 schedule words of a block of 16 words. Python: `tpf.sha256.schedule`. -/
def schedule (block : List W) : List W := (extend 48 block.reverse).reverse

/-- Schedule words with their round constants added. Python: `tpf.sha256.keyed`. -/
def keyed (w : List W) : List W := List.zipWith (· + ·) w roundConstants

/-- The state after the rounds with the words `kws`. -/
def runList : List W → State → State
  | [], s => s
  | kw :: l, s => runList l (round s kw)

/-- One compression. Python: `tpf.sha256.compress`. -/
def compress (s : State) (block : List W) : State := feed s (runList (keyed (schedule block)) s)

theorem runList_append (l : List W) (kw : W) (s : State) :
    runList (l ++ [kw]) s = round (runList l s) kw := by
  induction l generalizing s with
  | nil => rfl
  | cons k l ih => exact ih (round s k)

/-- The list and the numbered words give the same rounds, so what is proved of `run` holds of the
executable hash. -/
theorem runList_eq_run (l : List W) (s : State) :
    runList l s = run (fun i => l.getD i 0) s l.length := by
  have key : ∀ n, n ≤ l.length → runList (l.take n) s = run (fun i => l.getD i 0) s n := by
    intro n
    induction n with
    | zero => intro _; rfl
    | succ n ih =>
      intro h
      have hn : n < l.length := by omega
      rw [List.take_succ_eq_append_getElem hn, runList_append, ih (by omega), run]
      congr 1
      simp [List.getD, List.getElem?_eq_getElem hn]
  have := key l.length (Nat.le_refl _)
  rwa [List.take_length] at this

theorem length_extend (n : Nat) (l : List W) : (extend n l).length = l.length + n := by
  induction n generalizing l with
  | zero => rfl
  | succ n ih => rw [extend, ih, List.length_cons]; omega

/-- A compression is 64 rounds of `run`. Python: `tpf.sha256.compress`. -/
theorem compress_eq (s : State) (block : List W) (h : block.length = 16) :
    compress s block = compressWith (fun i => (keyed (schedule block)).getD i 0) s := by
  have hl : (keyed (schedule block)).length = 64 := by
    rw [keyed, List.length_zipWith, schedule, List.length_reverse, length_extend,
      List.length_reverse, h]
    rfl
  unfold compress compressWith
  rw [runList_eq_run, hl]

/-! ## Padding -/

/-- The zeros between the final one and the length. -/
def zeros (length : Nat) : Nat := (119 - length % 64) % 64

/-- The length in bits as eight bytes. -/
def lengthBytes (length : Nat) : List Byte :=
  [56, 48, 40, 32, 24, 16, 8, 0].map (fun i => BitVec.ofNat 8 ((8 * length) >>> i))

/-- A message with its padding. FIPS 180-4, §5.1.1. -/
def pad (message : List Byte) : List Byte :=
  message ++ (0x80 :: (List.replicate (zeros message.length) 0 ++ lengthBytes message.length))

/-- The padded message fills whole blocks, and as few as hold the message, a bit and its length.
Python: `tpf.sha256.compress`. -/
theorem length_pad (message : List Byte) :
    (pad message).length = 64 * ((message.length + 8) / 64 + 1) := by
  simp only [pad, List.length_append, List.length_cons, List.length_replicate, lengthBytes,
    List.length_map, List.length_nil, zeros]
  omega

/-- Four bytes as a word, the most significant first. -/
def wordOf (a b c d : Byte) : W := a ++ b ++ c ++ d

/-- Bytes as words; bytes that do not fill a word are left out, which does not happen after `pad`. -/
def words : List Byte → List W
  | a :: b :: c :: d :: l => wordOf a b c d :: words l
  | _ => []

/-- `n` blocks of 16 words, each compressed. -/
def compressBlocks : Nat → State → List W → State
  | 0, s, _ => s
  | n + 1, s, l => compressBlocks n (compress s (l.take 16)) (l.drop 16)

/-- SHA-256 of a message. -/
def sha256 (message : List Byte) : State :=
  compressBlocks ((message.length + 8) / 64 + 1) initial (words (pad message))

/-- The bytes of a word, the most significant first. -/
def bytesOf (x : W) : List Byte :=
  [x.extractLsb' 24 8, x.extractLsb' 16 8, x.extractLsb' 8 8, x.extractLsb' 0 8]

/-- The eight words of a digest. -/
def State.toList (s : State) : List W := [s.a, s.b, s.c, s.d, s.e, s.f, s.g, s.h]

/-- A digest as bytes. -/
def digestBytes (s : State) : List Byte := s.toList.flatMap bytesOf

/-- SHA-256 of the SHA-256 of a message. -/
def doubleSha256 (message : List Byte) : State := sha256 (digestBytes (sha256 message))

/-- Rounds that the hash of a message of so many bytes takes. -/
def roundsOf (length : Nat) : Nat := 64 * ((length + 8) / 64 + 1)

/-- A double hash of a message that fits one block is 128 rounds. -/
theorem rounds_of_double_hash {length : Nat} (h : length ≤ 55) :
    roundsOf length + roundsOf 32 = 128 := by
  unfold roundsOf
  omega

/-- A double hash of a header of 80 bytes is 192 rounds, of which the first 64 are the same for all
nonces. -/
theorem rounds_of_header : roundsOf 80 + roundsOf 32 = 64 + 128 := by decide

/-! ## Published vectors -/

/-- The empty message. Source: FIPS 180-4, examples of NIST. Python: `tpf.sha256.compress`. -/
theorem sha256_empty : (sha256 []).toList =
    [0xe3b0c442, 0x98fc1c14, 0x9afbf4c8, 0x996fb924, 0x27ae41e4, 0x649b934c,
     0xa495991b, 0x7852b855] := by
  decide +kernel

/-- The message `abc`. Source: FIPS 180-4, examples of NIST. Python: `tpf.sha256.compress`. -/
theorem sha256_abc : (sha256 [0x61, 0x62, 0x63]).toList =
    [0xba7816bf, 0x8f01cfea, 0x414140de, 0x5dae2223, 0xb00361a3, 0x96177a9c,
     0xb410ff61, 0xf20015ad] := by
  decide +kernel

/-- The message `abc` hashed twice: 128 rounds. Python: `tpf.sha256.compress`. -/
theorem doubleSha256_abc : (doubleSha256 [0x61, 0x62, 0x63]).toList =
    [0x4f8b42c2, 0x2dd3729b, 0x519ba6f6, 0x8d2da7cc, 0x5b2d606d, 0x05daed5a,
     0xd5128cc0, 0x3e6c6358] := by
  decide +kernel

/-- 56 letters, which need a second block for their length. Python: `tpf.sha256.compress`. -/
theorem sha256_two_blocks : (sha256 (List.replicate 56 0x61)).toList =
    [0xb35439a4, 0xac6f0948, 0xb6d6f9e3, 0xc6af0f5f, 0x590ce20f, 0x1bde7090,
     0xef797068, 0x6ec6738a] := by
  decide +kernel

example : (pad [0x61, 0x62, 0x63]).length = 64 ∧ zeros 3 = 52 := by decide +kernel
example : roundsOf 3 + roundsOf 32 = 128 := rounds_of_double_hash (by decide)
example : compress initial (words (pad []))
    = compressWith (fun i => (keyed (schedule (words (pad [])))).getD i 0) initial :=
  compress_eq _ _ (by decide +kernel)

end Silicon
