/-!
# Hierarchical Number System: digits to a base, and what an addition costs

The published claim is an energy of O(log n) per operation. In the *value* `n` that is true, as it is
for any positional notation to any base; in the *number of digits* the cost is linear, and no encoding
of this kind can be below it. Digits are the least significant first; zero has no digits.
-/

noncomputable section

namespace Silicon

/-- Digits of `x`, at most `fuel` of them. -/
def encodeWith (B : Nat) : Nat → Nat → List Nat
  | 0, _ => []
  | fuel + 1, x => if x = 0 then [] else x % B :: encodeWith B fuel (x / B)

/-- Digits of `x` to the base `B`, the least significant first. Python: `tpf.hns.encode`. -/
def encode (B x : Nat) : List Nat := encodeWith B x x

/-- The number that digits stand for. Python: `tpf.hns.decode`. -/
def decode (B : Nat) : List Nat → Nat
  | [] => 0
  | d :: l => d + B * decode B l

/-- Without the zeros at the end. -/
def trim : List Nat → List Nat
  | [] => []
  | d :: l => if d = 0 ∧ trim l = [] then [] else d :: trim l

/-- No zeros at the end: the digits of a number as they are written. -/
def Canonical (l : List Nat) : Prop := trim l = l

/-- Adds `n` digits and the carry `c`, and counts the digit operations: one for each digit, one more
where a carry is left over. -/
def addWith (B : Nat) : Nat → List Nat → List Nat → Nat → List Nat × Nat
  | 0, _, _, c => if c = 0 then ([], 0) else ([c], 1)
  | n + 1, l, m, c =>
    ((l.headD 0 + m.headD 0 + c) % B
        :: (addWith B n l.tail m.tail ((l.headD 0 + m.headD 0 + c) / B)).1,
      (addWith B n l.tail m.tail ((l.headD 0 + m.headD 0 + c) / B)).2 + 1)

/-- The digits of a sum. Python: `tpf.hns.add`, `digits`. -/
def add (B : Nat) (l m : List Nat) : List Nat := trim (addWith B (max l.length m.length) l m 0).1

/-- Digit operations of an addition. Python: `tpf.hns.add`, `digit_operations`. -/
def addCost (B : Nat) (l m : List Nat) : Nat := (addWith B (max l.length m.length) l m 0).2

variable {B x y : Nat}

/-! ## Encoding and decoding -/

theorem decode_encodeWith (hB : 2 ≤ B) (fuel x : Nat) (h : x ≤ fuel) :
    decode B (encodeWith B fuel x) = x := by
  induction fuel generalizing x with
  | zero => simp only [encodeWith, decode]; omega
  | succ fuel ih =>
    unfold encodeWith
    by_cases hx : x = 0
    · rw [if_pos hx, hx]; rfl
    · have hlt : x / B < x := Nat.div_lt_self (by omega) (by omega)
      rw [if_neg hx, decode, ih _ (by omega), Nat.mod_add_div]

/-- Decoding undoes encoding. Python: `tpf.hns.decode`, `encode`. -/
theorem decode_encode (hB : 2 ≤ B) (x : Nat) : decode B (encode B x) = x :=
  decode_encodeWith hB x x (Nat.le_refl x)

/-- Numbers with the same digits are equal. Python: `tpf.hns.encode`. -/
theorem encode_injective (hB : 2 ≤ B) (h : encode B x = encode B y) : x = y := by
  rw [← decode_encode hB x, h, decode_encode hB]

theorem encodeWith_lt (hB : 2 ≤ B) (fuel x : Nat) : ∀ d ∈ encodeWith B fuel x, d < B := by
  induction fuel generalizing x with
  | zero => intro d hd; cases hd
  | succ fuel ih =>
    intro d hd
    unfold encodeWith at hd
    by_cases hx : x = 0
    · rw [if_pos hx] at hd; cases hd
    · rw [if_neg hx] at hd
      rcases List.mem_cons.mp hd with e | hd
      · rw [e]; exact Nat.mod_lt _ (by omega)
      · exact ih _ d hd

/-- Digits are below the base. Python: `tpf.hns.encode`. -/
theorem encode_lt (hB : 2 ≤ B) (x : Nat) : ∀ d ∈ encode B x, d < B := encodeWith_lt hB x x

theorem decode_trim (l : List Nat) : decode B (trim l) = decode B l := by
  induction l with
  | nil => rfl
  | cons d l ih =>
    unfold trim
    by_cases h : d = 0 ∧ trim l = []
    · rw [if_pos h]
      rw [h.2] at ih
      simp only [decode] at ih ⊢
      rw [← ih, h.1, Nat.mul_zero]
    · rw [if_neg h, decode, decode, ih]

theorem trim_trim (l : List Nat) : trim (trim l) = trim l := by
  induction l with
  | nil => rfl
  | cons d l ih =>
    by_cases h : d = 0 ∧ trim l = []
    · simp only [trim, if_pos h]
    · simp only [trim, if_neg h, ih]

theorem mem_of_mem_trim {l : List Nat} {d : Nat} (h : d ∈ trim l) : d ∈ l := by
  induction l with
  | nil => exact h
  | cons e l ih =>
    unfold trim at h
    by_cases c : e = 0 ∧ trim l = []
    · rw [if_pos c] at h; cases h
    · rw [if_neg c] at h
      rcases List.mem_cons.mp h with g | g
      · exact List.mem_cons.mpr (Or.inl g)
      · exact List.mem_cons.mpr (Or.inr (ih g))

theorem trim_eq_nil_of_decode (hB : 2 ≤ B) {l : List Nat} (h : decode B l = 0) : trim l = [] := by
  induction l with
  | nil => rfl
  | cons d l ih =>
    simp only [decode] at h
    have hd : d = 0 := by omega
    have hl : B * decode B l = 0 := by omega
    have hz : decode B l = 0 := by
      rcases Nat.mul_eq_zero.mp hl with a | a
      · omega
      · exact a
    simp only [trim, ih hz, hd, and_self, if_true]

/-- Digits below the base are known by their number, up to zeros at the end. -/
theorem trim_eq_of_decode (hB : 2 ≤ B) (l m : List Nat) (hl : ∀ d ∈ l, d < B) (hm : ∀ d ∈ m, d < B)
    (h : decode B l = decode B m) : trim l = trim m := by
  induction l generalizing m with
  | nil => exact (trim_eq_nil_of_decode hB h.symm).symm
  | cons d l ih =>
    cases m with
    | nil => exact trim_eq_nil_of_decode hB h
    | cons e m =>
      have hd := hl d (List.mem_cons.mpr (Or.inl rfl))
      have he := hm e (List.mem_cons.mpr (Or.inl rfl))
      simp only [decode] at h
      have hde : d = e := by
        have a := congrArg (· % B) h
        simp only [Nat.add_mul_mod_self_left] at a
        rwa [Nat.mod_eq_of_lt hd, Nat.mod_eq_of_lt he] at a
      subst hde
      have hlm : decode B l = decode B m :=
        Nat.eq_of_mul_eq_mul_left (by omega : 0 < B) (by omega)
      have t := ih m (fun a ha => hl a (List.mem_cons.mpr (Or.inr ha)))
        (fun a ha => hm a (List.mem_cons.mpr (Or.inr ha))) hlm
      simp only [trim, t]

theorem encodeWith_canonical (hB : 2 ≤ B) (fuel x : Nat) (h : x ≤ fuel) :
    Canonical (encodeWith B fuel x) := by
  induction fuel generalizing x with
  | zero => rfl
  | succ fuel ih =>
    unfold encodeWith
    by_cases hx : x = 0
    · rw [if_pos hx]; rfl
    · have hlt : x / B < x := Nat.div_lt_self (by omega) (by omega)
      have c : trim (encodeWith B fuel (x / B)) = encodeWith B fuel (x / B) := ih _ (by omega)
      rw [if_neg hx]
      show trim _ = _
      rw [trim, c, if_neg]
      rintro ⟨h0, he⟩
      have hd := decode_encodeWith hB fuel (x / B) (by omega)
      rw [he] at hd
      have := Nat.mod_add_div x B
      rw [h0, ← hd] at this
      simp only [decode, Nat.mul_zero] at this
      omega

/-- Encoding undoes decoding, for digits below the base without zeros at the end.
Python: `tpf.hns.encode`, `decode`. -/
theorem encode_decode (hB : 2 ≤ B) {l : List Nat} (hl : ∀ d ∈ l, d < B) (hc : Canonical l) :
    encode B (decode B l) = l := by
  have h := trim_eq_of_decode hB _ l (encode_lt hB (decode B l)) hl (decode_encode hB _)
  have hc' : trim l = l := hc
  have he : trim (encode B (decode B l)) = encode B (decode B l) :=
    encodeWith_canonical hB _ _ (Nat.le_refl _)
  rw [← he, h, hc']

/-! ## Length -/

theorem lt_pow_length_encodeWith (hB : 2 ≤ B) (fuel x : Nat) (h : x ≤ fuel) :
    x < B ^ (encodeWith B fuel x).length := by
  induction fuel generalizing x with
  | zero => simp only [encodeWith, List.length_nil, Nat.pow_zero]; omega
  | succ fuel ih =>
    unfold encodeWith
    by_cases hx : x = 0
    · rw [if_pos hx, hx]; exact Nat.one_pos
    · have hlt : x / B < x := Nat.div_lt_self (by omega) (by omega)
      rw [if_neg hx, List.length_cons, Nat.pow_succ]
      exact (Nat.div_lt_iff_lt_mul (by omega)).mp (ih _ (by omega))

/-- The number is below the base to the power of its length. Python: `tpf.hns.encode`. -/
theorem lt_pow_length (hB : 2 ≤ B) (x : Nat) : x < B ^ (encode B x).length :=
  lt_pow_length_encodeWith hB x x (Nat.le_refl x)

theorem pow_length_le_encodeWith (hB : 2 ≤ B) (fuel x : Nat) (h : x ≤ fuel) (hx : x ≠ 0) :
    B ^ ((encodeWith B fuel x).length - 1) ≤ x := by
  induction fuel generalizing x with
  | zero => omega
  | succ fuel ih =>
    have hlt : x / B < x := Nat.div_lt_self (by omega) (by omega)
    have hle : x / B * B ≤ x := Nat.div_mul_le_self x B
    unfold encodeWith
    rw [if_neg hx, List.length_cons, Nat.add_sub_cancel]
    by_cases h0 : x / B = 0
    · rw [h0]
      have : encodeWith B fuel 0 = [] := by cases fuel <;> rfl
      rw [this, List.length_nil, Nat.pow_zero]
      omega
    · have a := ih (x / B) (by omega) h0
      have hne : (encodeWith B fuel (x / B)).length ≠ 0 := by
        intro e
        have := lt_pow_length_encodeWith hB fuel (x / B) (by omega)
        rw [e, Nat.pow_zero] at this
        omega
      obtain ⟨k, hk⟩ := Nat.exists_eq_succ_of_ne_zero hne
      rw [hk] at a ⊢
      rw [Nat.succ_sub_one] at a
      rw [Nat.pow_succ]
      exact Nat.le_trans (Nat.mul_le_mul_right B a) hle

/-- A number is at least the base to the power of its length less one. Python: `tpf.hns.encode`. -/
theorem pow_length_le (hB : 2 ≤ B) (hx : x ≠ 0) : B ^ ((encode B x).length - 1) ≤ x :=
  pow_length_le_encodeWith hB x x (Nat.le_refl x) hx

/-- The length is the logarithm, rounded down, plus one: `k` is the only number with
`B ^ k ≤ x < B ^ (k + 1)`, and the length is `k + 1`. Python: `tpf.hns.encode`. -/
theorem length_encode_eq (hB : 2 ≤ B) {k : Nat} (h1 : B ^ k ≤ x) (h2 : x < B ^ (k + 1)) :
    (encode B x).length = k + 1 := by
  have hx : x ≠ 0 := by have := Nat.pow_pos (n := k) (show 0 < B by omega); omega
  have a := lt_pow_length hB x
  have b := pow_length_le hB hx
  have c : k < (encode B x).length :=
    (Nat.pow_lt_pow_iff_right (by omega : 1 < B)).mp (Nat.lt_of_le_of_lt h1 a)
  have d : (encode B x).length - 1 < k + 1 :=
    (Nat.pow_lt_pow_iff_right (by omega : 1 < B)).mp (Nat.lt_of_le_of_lt b h2)
  omega

/-- In binary the length is that of the computer's word. Python: `tpf.hns.encode`. -/
theorem length_encode_two (hx : x ≠ 0) : (encode 2 x).length = x.log2 + 1 :=
  length_encode_eq (by omega) (Nat.log2_self_le hx) Nat.lt_log2_self

/-! ## Addition and its cost -/

theorem decode_head_tail (l : List Nat) : decode B l = l.headD 0 + B * decode B l.tail := by
  cases l with
  | nil => simp [decode]
  | cons d l => rfl

theorem decode_addWith (n : Nat) (l m : List Nat) (c : Nat) (hl : l.length ≤ n)
    (hm : m.length ≤ n) : decode B (addWith B n l m c).1 = decode B l + decode B m + c := by
  induction n generalizing l m c with
  | zero =>
    have e1 : l = [] := List.eq_nil_of_length_eq_zero (by omega)
    have e2 : m = [] := List.eq_nil_of_length_eq_zero (by omega)
    subst e1; subst e2
    unfold addWith
    by_cases h : c = 0
    · rw [if_pos h, h]; rfl
    · rw [if_neg h]; simp [decode]
  | succ n ih =>
    have h1 : l.tail.length ≤ n := by rw [List.length_tail]; omega
    have h2 : m.tail.length ≤ n := by rw [List.length_tail]; omega
    have key := Nat.mod_add_div (l.headD 0 + m.headD 0 + c) B
    rw [decode_head_tail l, decode_head_tail m]
    simp only [addWith, decode, ih _ _ _ h1 h2, Nat.mul_add]
    omega

theorem addWith_lt (hB : 2 ≤ B) (n : Nat) (l m : List Nat) (c : Nat) (hl : ∀ d ∈ l, d < B)
    (hm : ∀ d ∈ m, d < B) (hc : c ≤ 1) : ∀ d ∈ (addWith B n l m c).1, d < B := by
  have head : ∀ k : List Nat, (∀ d ∈ k, d < B) → k.headD 0 < B ∧ ∀ d ∈ k.tail, d < B := by
    intro k hk
    cases k with
    | nil => exact ⟨by show 0 < B; omega, fun d hd => by cases hd⟩
    | cons a k =>
      exact ⟨hk a (List.mem_cons.mpr (Or.inl rfl)),
        fun d hd => hk d (List.mem_cons.mpr (Or.inr hd))⟩
  induction n generalizing l m c with
  | zero =>
    intro d hd
    unfold addWith at hd
    by_cases h : c = 0
    · rw [if_pos h] at hd; cases hd
    · rw [if_neg h] at hd
      have := List.mem_singleton.mp hd
      omega
  | succ n ih =>
    intro d hd
    obtain ⟨a1, a2⟩ := head l hl
    obtain ⟨b1, b2⟩ := head m hm
    simp only [addWith] at hd
    rcases List.mem_cons.mp hd with e | hd
    · rw [e]; exact Nat.mod_lt _ (by omega)
    · refine ih _ _ _ a2 b2 ?_ d hd
      have : (l.headD 0 + m.headD 0 + c) / B < 2 := (Nat.div_lt_iff_lt_mul (by omega)).mpr (by omega)
      omega

theorem addWith_cost (n : Nat) (l m : List Nat) (c : Nat) :
    n ≤ (addWith B n l m c).2 ∧ (addWith B n l m c).2 ≤ n + 1
      ∧ (addWith B n l m c).2 = (addWith B n l m c).1.length := by
  induction n generalizing l m c with
  | zero =>
    unfold addWith
    by_cases h : c = 0
    · rw [if_pos h]; exact ⟨Nat.le_refl 0, by decide, rfl⟩
    · rw [if_neg h]; exact ⟨Nat.zero_le _, Nat.le_refl 1, rfl⟩
  | succ n ih =>
    obtain ⟨a, b, d⟩ := ih l.tail m.tail ((l.headD 0 + m.headD 0 + c) / B)
    simp only [addWith, List.length_cons]
    omega

/-- The sum of encoded numbers is the encoded sum. Python: `tpf.hns.add`. -/
theorem add_encode (hB : 2 ≤ B) (x y : Nat) :
    add B (encode B x) (encode B y) = encode B (x + y) := by
  have hd := decode_addWith (B := B) (max (encode B x).length (encode B y).length)
    (encode B x) (encode B y) 0 (Nat.le_max_left _ _) (Nat.le_max_right _ _)
  rw [decode_encode hB, decode_encode hB, Nat.add_zero] at hd
  have hlt := addWith_lt hB (max (encode B x).length (encode B y).length) (encode B x) (encode B y)
    0 (encode_lt hB x) (encode_lt hB y) (by omega)
  have hc : trim (encode B (x + y)) = encode B (x + y) :=
    encodeWith_canonical hB _ _ (Nat.le_refl _)
  unfold add
  rw [← hc]
  exact trim_eq_of_decode hB _ _ hlt (encode_lt hB _) (by rw [hd, decode_encode hB])

/-- *Linear in the number of digits*: an addition takes at least as many digit operations as the
longer number has digits, and at most one more. So no bound below the number of digits holds.
Source: CHIMERA paper, §VII (E_HNS = k' log n). Python: `tpf.hns.add`. -/
theorem addCost_linear (B : Nat) (l m : List Nat) :
    max l.length m.length ≤ addCost B l m ∧ addCost B l m ≤ max l.length m.length + 1 :=
  ⟨(addWith_cost _ l m 0).1, (addWith_cost _ l m 0).2.1⟩

/-- *Logarithmic in the value*: where `x` has a size of `B ^ k ≤ x < B ^ (k + 1)` and `y` is not
greater, adding takes `k + 1` or `k + 2` digit operations. This is the statement of O(log n) that is
true, and it is true of every base. Source: CHIMERA paper, §VII. Python: `tpf.hns.add`. -/
theorem addCost_logarithmic (hB : 2 ≤ B) {k : Nat} (h1 : B ^ k ≤ x) (h2 : x < B ^ (k + 1))
    (hy : y ≤ x) :
    k + 1 ≤ addCost B (encode B x) (encode B y) ∧ addCost B (encode B x) (encode B y) ≤ k + 2 := by
  have hl := length_encode_eq hB h1 h2
  have hm : (encode B y).length ≤ k + 1 := by
    by_cases h0 : y = 0
    · have : encode B 0 = [] := rfl
      rw [h0, this, List.length_nil]; omega
    · have b := pow_length_le hB h0
      have d : (encode B y).length - 1 < k + 1 :=
        (Nat.pow_lt_pow_iff_right (by omega : 1 < B)).mp (by omega)
      omega
  have h := addCost_linear B (encode B x) (encode B y)
  omega

/-- A cost that is logarithmic in the number of *digits* is refuted by every length: numbers of `k + 1`
digits exist, and adding two of them takes more than `k` digit operations.
Source: CHIMERA paper, §VII. Python: `tpf.hns.measure_cost`. -/
theorem addCost_not_sublinear (hB : 2 ≤ B) (k : Nat) :
    ∃ x, (encode B x).length = k + 1 ∧ k < addCost B (encode B x) (encode B x) := by
  have hp : B ^ k < B ^ (k + 1) := Nat.pow_lt_pow_right (by omega) (by omega)
  have h := addCost_logarithmic hB (Nat.le_refl (B ^ k)) hp (Nat.le_refl (B ^ k))
  exact ⟨B ^ k, length_encode_eq hB (Nat.le_refl _) hp, h.1⟩

/-! ## Examples -/

example : encode 1000 1234567 = [567, 234, 1] ∧ decode 1000 [567, 234, 1] = 1234567 := by
  decide +kernel
example : encode 1000 0 = [] ∧ (encode 2 255).length = 8 := by decide +kernel
example : add 1000 (encode 1000 999999) (encode 1000 1) = [0, 0, 1]
    ∧ addCost 1000 (encode 1000 999999) (encode 1000 1) = 3 := by decide +kernel
example : add 1000 [567, 234, 1] [1] = encode 1000 1234568 :=
  add_encode (B := 1000) (by decide) 1234567 1
example : encode 10 (decode 10 [7, 0, 5]) = [7, 0, 5] :=
  encode_decode (by decide) (by decide) (by unfold Canonical; decide)
example : 3 ≤ addCost 1000 (encode 1000 1234567) (encode 1000 7) :=
  (addCost_logarithmic (k := 2) (by decide) (by decide) (by decide) (by decide)).1
example : (encode 1000 1234567).length = 3 :=
  length_encode_eq (k := 2) (by decide) (by decide) (by decide)
example : 1000 ^ ((encode 1000 1234567).length - 1) ≤ 1234567 ∧ 1234567
    < 1000 ^ (encode 1000 1234567).length :=
  ⟨pow_length_le (by decide) (by decide), lt_pow_length (by decide) _⟩
example : (encode 2 1000).length = 10 := length_encode_two (by decide)

end Silicon
