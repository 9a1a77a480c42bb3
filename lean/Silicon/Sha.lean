/-!
# SHA-256 one round at a time

FIPS 180-4, §6.2. `kw` is the round constant plus the schedule word. Rounds are numbered from 0, so
"after 61 rounds" means after the rounds 0 .. 60. A round is a bijection, four of the eight registers
only shift, and so digest words are fixed some rounds before the end: word 7 after 61 rounds and, what
the published abort after round 5 overlooks, not after 60.
-/

noncomputable section

namespace Silicon

/-- A word of 32 bits. -/
abbrev W := BitVec 32

/-- The eight working variables between two rounds. Python: `tpf.sha256.State`. -/
structure State where
  (a b c d e f g h : W)

instance : DecidableEq State := fun s t =>
  decidable_of_iff (s.a = t.a ∧ s.b = t.b ∧ s.c = t.c ∧ s.d = t.d ∧ s.e = t.e ∧ s.f = t.f
    ∧ s.g = t.g ∧ s.h = t.h) (by cases s; cases t; simp only [State.mk.injEq])

/-- Rotation to the right. -/
def rotate (x : W) (n : Nat) : W := (x >>> n) ||| (x <<< (32 - n))

/-- The function Σ0 of FIPS 180-4. -/
def bigSigma0 (x : W) : W := rotate x 2 ^^^ rotate x 13 ^^^ rotate x 22

/-- The function Σ1 of FIPS 180-4. -/
def bigSigma1 (x : W) : W := rotate x 6 ^^^ rotate x 11 ^^^ rotate x 25

/-- The function Ch of FIPS 180-4, with one operation less. -/
def choose (e f g : W) : W := g ^^^ (e &&& (f ^^^ g))

/-- The function Maj of FIPS 180-4. -/
def majority (a b c : W) : W := (a &&& b) ^^^ (a &&& c) ^^^ (b &&& c)

/-- The part of a round's first sum that does not contain the register `h`. -/
def mix (e f g kw : W) : W := bigSigma1 e + choose e f g + kw

/-- The second sum of a round. -/
def t2 (a b c : W) : W := bigSigma0 a + majority a b c

/-- One round. Python: `tpf.sha256.round`. -/
def round (s : State) (kw : W) : State :=
  ⟨s.h + mix s.e s.f s.g kw + t2 s.a s.b s.c, s.a, s.b, s.c, s.d + (s.h + mix s.e s.f s.g kw),
    s.e, s.f, s.g⟩

/-- The state before a round. Python: `tpf.sha256.unround`. -/
def unround (s : State) (kw : W) : State :=
  ⟨s.b, s.c, s.d, s.e - (s.a - t2 s.b s.c s.d), s.f, s.g, s.h,
    s.a - t2 s.b s.c s.d - mix s.f s.g s.h kw⟩

/-- The half of a round that computes `e`; `unknown` stands where the new `a` would be.
Python: `tpf.sha256.e_half`. -/
def eHalf (s : State) (kw unknown : W) : State :=
  ⟨unknown, s.a, s.b, s.c, s.d + (s.h + mix s.e s.f s.g kw), s.e, s.f, s.g⟩

/-- The state after the rounds 0 .. n - 1. Python: `tpf.sha256.run`. -/
def run (kw : Nat → W) (s : State) : Nat → State
  | 0 => s
  | n + 1 => round (run kw s n) (kw n)

/-- The state before the rounds 0 .. n - 1. -/
def unrun (kw : Nat → W) (s : State) : Nat → State
  | 0 => s
  | n + 1 => unrun kw (unround s (kw n)) n

/-- Word-by-word addition: the chaining value after a compression. -/
def feed (s t : State) : State :=
  ⟨s.a + t.a, s.b + t.b, s.c + t.c, s.d + t.d, s.e + t.e, s.f + t.f, s.g + t.g, s.h + t.h⟩

/-- One compression of 64 rounds. Python: `tpf.sha256.compress`. -/
def compressWith (kw : Nat → W) (s : State) : State := feed s (run kw s 64)

/-- `choose` is Ch as FIPS 180-4 writes it. Python: `tpf.sha256.round`. -/
theorem choose_eq (e f g : W) : choose e f g = (e &&& f) ^^^ (~~~e &&& g) := by
  ext i hi
  simp only [choose, BitVec.getElem_xor, BitVec.getElem_and, BitVec.getElem_not]
  cases e[i] <;> cases f[i] <;> cases g[i] <;> rfl

/-! ## A round is a bijection -/

theorem unround_round (s : State) (kw : W) : unround (round s kw) kw = s := by
  cases s
  simp only [round, unround, State.mk.injEq, true_and]
  refine ⟨?_, ?_⟩ <;> grind

theorem round_unround (s : State) (kw : W) : round (unround s kw) kw = s := by
  cases s
  simp only [round, unround, State.mk.injEq, and_true, true_and]
  refine ⟨?_, ?_⟩ <;> grind

/-- Two states with the same state after a round are the same.
Source: *Speaking to Silicon*, §12 (the rounds). Python: `tpf.sha256.round`, `unround`. -/
theorem round_injective {s t : State} {kw : W} (h : round s kw = round t kw) : s = t := by
  rw [← unround_round s kw, h, unround_round]

/-- Each state is the state after a round. Python: `tpf.sha256.round`, `unround`. -/
theorem round_surjective (t : State) (kw : W) : ∃ s, round s kw = t :=
  ⟨unround t kw, round_unround t kw⟩

theorem unrun_run (kw : Nat → W) (s : State) (n : Nat) : unrun kw (run kw s n) n = s := by
  induction n with
  | zero => rfl
  | succ n ih => rw [run, unrun, unround_round, ih]

theorem run_unrun (kw : Nat → W) (s : State) (n : Nat) : run kw (unrun kw s n) n = s := by
  induction n generalizing s with
  | zero => rfl
  | succ n ih => rw [unrun, run, ih, round_unround]

/-- Any number of rounds loses nothing: the state before them is known from the state after.
Python: `tpf.sha256.run`. -/
theorem run_injective {kw : Nat → W} {s t : State} (n : Nat) (h : run kw s n = run kw t n) :
    s = t := by
  rw [← unrun_run kw s n, h, unrun_run]

/-- Each state is reached by any number of rounds. Python: `tpf.sha256.run`. -/
theorem run_surjective (kw : Nat → W) (t : State) (n : Nat) : ∃ s, run kw s n = t :=
  ⟨unrun kw t n, run_unrun kw t n⟩

theorem run_congr {kw kw' : Nat → W} (s : State) (n : Nat) (h : ∀ i, i < n → kw i = kw' i) :
    run kw s n = run kw' s n := by
  induction n with
  | zero => rfl
  | succ n ih => rw [run, run, ih (fun i hi => h i (by omega)), h n (by omega)]

/-! ## Which digest words are fixed when -/

/-- Three of four registers only shift: `h` is `e` of three rounds before. -/
theorem shift_e (kw : Nat → W) (s : State) (i : Nat) : (run kw s (i + 3)).h = (run kw s i).e := rfl

/-- Three of four registers only shift: `d` is `a` of three rounds before. -/
theorem shift_a (kw : Nat → W) (s : State) (i : Nat) : (run kw s (i + 3)).d = (run kw s i).a := rfl

/-- After which round each digest word is fixed, written (round, register): words 0 .. 3 are `a` after
64, 63, 62, 61 rounds and words 4 .. 7 are `e` after 64, 63, 62, 61 rounds, each plus the chaining
value. Source: *Speaking to Silicon*, §12. Python: `tpf.sha256.run`. -/
theorem digest_words (kw : Nat → W) (s : State) :
    compressWith kw s =
      ⟨s.a + (run kw s 64).a, s.b + (run kw s 63).a, s.c + (run kw s 62).a, s.d + (run kw s 61).a,
        s.e + (run kw s 64).e, s.f + (run kw s 63).e, s.g + (run kw s 62).e,
        s.h + (run kw s 61).e⟩ := rfl

/-- Digest word 7, whose zeros decide whether a hash wins. -/
def digest7 (kw : Nat → W) (s : State) : W := (compressWith kw s).h

/-- The deciding word is known after 61 rounds: an abort there has no false aborts.
Source: *Speaking to Silicon*, §12. Python: `tpf.sha256.run`. -/
theorem digest7_after_61 (kw : Nat → W) (s : State) : digest7 kw s = s.h + (run kw s 61).e := rfl

/-- The last three rounds cannot change the deciding word. Python: `tpf.sha256.run`. -/
theorem digest7_ignores_last_rounds {kw kw' : Nat → W} (s : State)
    (h : ∀ i, i < 61 → kw i = kw' i) : digest7 kw s = digest7 kw' s := by
  rw [digest7_after_61, digest7_after_61, run_congr s 61 h]

theorem mix_injective {e f g kw kw' : W} (h : mix e f g kw = mix e f g kw') : kw = kw' := by
  unfold mix at h
  grind

/-- After 60 rounds the deciding word is open: with the same 60 rounds, hence the same eight registers,
it takes another value for each other word of round 60. So no function of the state after 60 or fewer
rounds is the deciding word. Source: *Speaking to Silicon*, §12 (abort after round 5).
Python: `tpf.sha256.run`. -/
theorem digest7_needs_round_60 {kw kw' : Nat → W} (s : State) (h : ∀ i, i < 60 → kw i = kw' i) :
    digest7 kw s = digest7 kw' s ↔ kw 60 = kw' 60 := by
  have step : ∀ k : Nat → W, run k s 61 = round (run k s 60) (k 60) := fun _ => rfl
  rw [digest7_after_61, digest7_after_61, step, step, run_congr s 60 h]
  generalize run kw' s 60 = t
  constructor
  · intro e
    simp only [round] at e
    refine mix_injective (e := t.e) (f := t.f) (g := t.g) ?_
    grind
  · intro e
    rw [e]

/-- The same as a statement about functions: whatever is computed from the state after 60 rounds, for
some rounds it is not the deciding word. Python: `tpf.sha256.run`. -/
theorem no_function_of_round_60 (s : State) (F : State → W) :
    ∃ kw, F (run kw s 60) ≠ digest7 kw s := by
  let kw0 : Nat → W := fun _ => 0
  let kw1 : Nat → W := fun i => if i = 60 then 1 else 0
  have hsame : ∀ i, i < 60 → kw0 i = kw1 i := by
    intro i hi
    show (0 : W) = if i = 60 then 1 else 0
    rw [if_neg (by omega)]
  have hne : digest7 kw0 s ≠ digest7 kw1 s := by
    intro e
    have := (digest7_needs_round_60 s hsame).mp e
    exact absurd this (by decide)
  by_cases h : F (run kw0 s 60) = digest7 kw0 s
  · refine ⟨kw1, fun e => hne ?_⟩
    rw [← h, ← e, run_congr s 60 hsame]
  · exact ⟨kw0, h⟩

/-- The eight registers. -/
def registers : List (State → W) :=
  [State.a, State.b, State.c, State.d, State.e, State.f, State.g, State.h]

/-- Nor is a single register after 60 rounds enough where the words of all rounds are known: for each
of the eight there are two starts with the same register after 60 rounds and another `e` after 61, the
word that becomes the deciding one. Python: `tpf.sha256.run`. -/
theorem no_register_decides (kw : Nat → W) :
    ∀ r ∈ registers, ∃ s t, r (run kw s 60) = r (run kw t 60)
      ∧ (run kw s 61).e ≠ (run kw t 61).e := by
  have key : ∀ (r : State → W) (x y : State), (round x (kw 60)).e ≠ (round y (kw 60)).e → r x = r y →
      ∃ s t, r (run kw s 60) = r (run kw t 60) ∧ (run kw s 61).e ≠ (run kw t 61).e := by
    intro r x y hne hr
    refine ⟨unrun kw x 60, unrun kw y 60, ?_, ?_⟩
    · rw [run_unrun, run_unrun, hr]
    · show (round (run kw _ 60) _).e ≠ (round (run kw _ 60) _).e
      rw [run_unrun, run_unrun]
      exact hne
  have hd : (round ⟨0, 0, 0, 0, 0, 0, 0, 0⟩ (kw 60)).e
      ≠ (round ⟨0, 0, 0, 1, 0, 0, 0, 0⟩ (kw 60)).e := by
    simp only [round]
    generalize 0 + mix 0 0 0 (kw 60) = x
    intro e
    have : (0 : W) = 1 := by grind
    exact absurd this (by decide)
  have hh : (round ⟨0, 0, 0, 0, 0, 0, 0, 0⟩ (kw 60)).e
      ≠ (round ⟨0, 0, 0, 0, 0, 0, 0, 1⟩ (kw 60)).e := by
    simp only [round]
    generalize mix 0 0 0 (kw 60) = x
    intro e
    have : (0 : W) = 1 := by grind
    exact absurd this (by decide)
  intro r hr
  simp only [registers, List.mem_cons, List.not_mem_nil, or_false] at hr
  rcases hr with h | h | h | h | h | h | h | h <;> subst h
  · exact key _ _ _ hd rfl
  · exact key _ _ _ hd rfl
  · exact key _ _ _ hd rfl
  · exact key _ _ _ hh rfl
  · exact key _ _ _ hd rfl
  · exact key _ _ _ hd rfl
  · exact key _ _ _ hd rfl
  · exact key _ _ _ hd rfl

/-! ## The half of a round that computes `e` -/

/-- The new `e` depends on five of the eight registers and the word of the round: `a`, `b`, `c` and
with them Σ0 and Maj are not needed. Python: `tpf.sha256.e_half`. -/
theorem round_e_congr {s t : State} {kw : W} (hd : s.d = t.d) (he : s.e = t.e) (hf : s.f = t.f)
    (hg : s.g = t.g) (hh : s.h = t.h) : (round s kw).e = (round t kw).e := by
  simp only [round, hd, he, hf, hg, hh]

/-- The half round computes the `e` of the whole one. Python: `tpf.sha256.e_half`. -/
theorem eHalf_e (s : State) (kw unknown : W) : (eHalf s kw unknown).e = (round s kw).e := rfl

/-- Four half rounds after `n` whole ones. Python: `tpf.sha256.e_half`. -/
def fourHalves (kw : Nat → W) (s : State) (n : Nat) (u : Fin 4 → W) : State :=
  eHalf (eHalf (eHalf (eHalf (run kw s n) (kw n) (u 0)) (kw (n + 1)) (u 1)) (kw (n + 2)) (u 2))
    (kw (n + 3)) (u 3)

/-- The deciding word is exact after 57 whole rounds and four half ones, whatever stands for what was
not computed. Source: *Speaking to Silicon*, §12. Python: `tpf.sha256.e_half`. -/
theorem digest7_after_57_and_four_halves (kw : Nat → W) (s : State) (u : Fin 4 → W) :
    digest7 kw s = s.h + (fourHalves kw s 57 u).e := rfl

/-- With 56 whole rounds and five half ones it is not: another value in the place of the first
register that was not computed gives another word, so all values are possible.
Python: `tpf.sha256.e_half`. -/
theorem five_halves_not_enough (kw : Nat → W) (s : State) (u : Fin 4 → W) (v v' : W) :
    (fourHalves (fun i => kw (i + 57)) (eHalf (run kw s 56) (kw 56) v) 0 u).e
      = (fourHalves (fun i => kw (i + 57)) (eHalf (run kw s 56) (kw 56) v') 0 u).e ↔ v = v' := by
  constructor
  · intro h
    simp only [fourHalves, eHalf, run] at h
    grind
  · intro h; rw [h]

/-! ## A double hash -/

/-- The state after `n` rounds of a double hash: `kw` are the words of the first compression, which
starts from the chaining value `s`; the second starts from `iv`, and its words depend on what the first
one gave. -/
def doubleRun (kw : Nat → W) (s : State) (second : State → Nat → W) (iv : State) (n : Nat) : State :=
  if n ≤ 64 then run kw s n else run (second (compressWith kw s)) iv (n - 64)

/-- The result of a double hash: one compression of the other's result. -/
def doubleCompress (kw : Nat → W) (s : State) (second : State → Nat → W) (iv : State) : State :=
  compressWith (second (compressWith kw s)) iv

/-- A double hash is 128 rounds. (A header of 80 bytes has a compression more before these, whose
result, the midstate, is the same for all nonces.) Source: *Speaking to Silicon*, §12.
Python: `tpf.sha256.compress`. -/
theorem double_hash_is_128_rounds (kw : Nat → W) (s : State) (second : State → Nat → W)
    (iv : State) :
    doubleCompress kw s second iv = feed iv (doubleRun kw s second iv 128) := rfl

/-- Of the 128 rounds of a double hash 125 fix the deciding word: what an abort without false aborts
can leave out is three rounds. Source: *Speaking to Silicon*, §12 (92 % were claimed).
Python: `tpf.sha256.run`. -/
theorem double_hash_decided_after_125 (kw : Nat → W) (s : State) (second : State → Nat → W)
    (iv : State) :
    (doubleCompress kw s second iv).h = iv.h + (doubleRun kw s second iv 125).e := rfl

/-! ## Examples -/

example : digest7 (fun _ => 7) ⟨1, 2, 3, 4, 5, 6, 7, 8⟩
    = digest7 (fun i => if i < 61 then 7 else 9) ⟨1, 2, 3, 4, 5, 6, 7, 8⟩ :=
  digest7_ignores_last_rounds _ (fun _ hi => (if_pos hi).symm)
example : digest7 (fun _ => 7) ⟨1, 2, 3, 4, 5, 6, 7, 8⟩
    ≠ digest7 (fun i => if i < 60 then 7 else 9) ⟨1, 2, 3, 4, 5, 6, 7, 8⟩ :=
  fun e => absurd ((digest7_needs_round_60 _ (fun _ hi => (if_pos hi).symm)).mp e) (by decide)
example : (round ⟨1, 2, 3, 4, 5, 6, 7, 8⟩ 9).e = (round ⟨0, 0, 0, 4, 5, 6, 7, 8⟩ 9).e :=
  round_e_congr rfl rfl rfl rfl rfl
example : round ⟨1, 2, 3, 4, 5, 6, 7, 8⟩ 9
    = ⟨1420297882, 1, 2, 3, 346030747, 5, 6, 7⟩ := by decide +kernel
example : unround (round ⟨1, 2, 3, 4, 5, 6, 7, 8⟩ 9) 9 = ⟨1, 2, 3, 4, 5, 6, 7, 8⟩ :=
  unround_round _ _

end Silicon
