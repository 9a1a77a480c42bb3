/-!
# Sums and maxima over `Fin n` of rational numbers

Core Lean has no finite sums over an index type, so the few lemmas that the other modules need
are proved here by induction.
-/

noncomputable section

namespace Silicon

/-- The sum of `f 0, ..., f (n - 1)`. -/
def sum : (n : Nat) → (Fin n → Rat) → Rat
  | 0, _ => 0
  | n + 1, f => sum n (fun i => f i.castSucc) + f (Fin.last n)

/-- The largest of `0, f 0, ..., f (n - 1)`; for weights, which are not negative, the largest
weight. -/
def maxi : (n : Nat) → (Fin n → Rat) → Rat
  | 0, _ => 0
  | n + 1, f => max (maxi n (fun i => f i.castSucc)) (f (Fin.last n))

/-- The place of the largest value; of equal values the first. -/
def argmax : (n : Nat) → (Fin (n + 1) → Rat) → Fin (n + 1)
  | 0, _ => 0
  | n + 1, f =>
    if f (argmax n (fun i => f i.castSucc)).castSucc < f (Fin.last (n + 1)) then Fin.last (n + 1)
    else (argmax n (fun i => f i.castSucc)).castSucc

/-- The absolute value of a rational number. -/
def rabs (x : Rat) : Rat := max x (-x)

/-- The positive part of a rational number. -/
def pos (x : Rat) : Rat := max x 0

/-- A column vector made of `u` above `v`. -/
def join {a b : Nat} (u : Fin a → Rat) (v : Fin b → Rat) : Fin (a + b) → Rat := fun i =>
  if h : i.val < a then u ⟨i.val, h⟩ else v ⟨i.val - a, by omega⟩

variable {n m : Nat}

/-! ## Rational numbers -/

-- An absolute value is not negative.
theorem rabs_nonneg (x : Rat) : 0 ≤ rabs x := by unfold rabs; grind
-- A number is at most its absolute value.
theorem le_rabs (x : Rat) : x ≤ rabs x := by unfold rabs; grind
-- So is its negative.
theorem neg_le_rabs (x : Rat) : -x ≤ rabs x := by unfold rabs; grind
-- A number and its negative have the same absolute value.
theorem rabs_neg (x : Rat) : rabs (-x) = rabs x := by unfold rabs; grind
-- Triangle inequality.
theorem rabs_add_le (x y : Rat) : rabs (x + y) ≤ rabs x + rabs y := by unfold rabs; grind
-- Only zero has absolute value zero.
theorem rabs_eq_zero {x : Rat} : rabs x = 0 ↔ x = 0 := by unfold rabs; grind
-- The absolute value of a number that is not negative is the number.
theorem rabs_of_nonneg {x : Rat} (h : 0 ≤ x) : rabs x = x := by unfold rabs; grind
-- The absolute value by the positive part.
theorem rabs_eq (x : Rat) : rabs x = 2 * pos x - x := by unfold rabs pos; grind
-- A factor that is not negative comes out of an absolute value.
theorem rabs_mul_nonneg (x : Rat) {c : Rat} (h : 0 ≤ c) : rabs (x * c) = rabs x * c := by
  unfold rabs
  rcases Rat.le_total (a := x) (b := -x) with hx | hx
  · have h1 := Rat.mul_le_mul_of_nonneg_right hx h
    have e : max x (-x) = -x := by grind
    rw [e]; grind
  · have h1 := Rat.mul_le_mul_of_nonneg_right hx h
    have e : max x (-x) = x := by grind
    rw [e]; grind

-- A positive part is not negative.
theorem pos_nonneg (x : Rat) : 0 ≤ pos x := by unfold pos; grind
-- A number is at most its positive part.
theorem le_pos (x : Rat) : x ≤ pos x := by unfold pos; grind

-- A square is not negative.
theorem mul_self_nonneg (x : Rat) : 0 ≤ x * x := by
  rcases Rat.le_total (a := 0) (b := x) with h | h
  · exact Rat.mul_nonneg h h
  · have := Rat.mul_nonneg (show 0 ≤ -x by grind) (show 0 ≤ -x by grind)
    grind

-- Only the square of zero is zero.
theorem mul_self_eq_zero {x : Rat} : x * x = 0 ↔ x = 0 := by
  rw [Rat.mul_eq_zero]; grind

-- The square of any other number is positive.
theorem mul_self_pos {x : Rat} (h : x ≠ 0) : 0 < x * x :=
  Rat.lt_of_le_of_ne (mul_self_nonneg x) (fun e => h (mul_self_eq_zero.mp e.symm))

-- The inverse of a number that is not negative is not negative (that of zero is zero).
theorem inv_nonneg {x : Rat} (h : 0 ≤ x) : 0 ≤ x⁻¹ := by
  by_cases hx : x = 0
  · subst hx; decide +kernel
  · exact Rat.le_of_lt (Rat.inv_pos.mpr (Rat.lt_of_le_of_ne h (Ne.symm hx)))

-- A quotient of numbers that are not negative is not negative.
theorem div_nonneg {x y : Rat} (hx : 0 ≤ x) (hy : 0 ≤ y) : 0 ≤ x / y := by
  rw [Rat.div_def]; exact Rat.mul_nonneg hx (inv_nonneg hy)

-- A quotient is at most `c` exactly where the numerator is at most `c` times the denominator.
theorem div_le_iff {a b c : Rat} (hb : 0 < b) : a / b ≤ c ↔ a ≤ c * b := by
  rw [← Rat.not_lt, Rat.lt_div_iff hb, Rat.not_lt]

-- The same from below.
theorem le_div_iff {a b c : Rat} (hc : 0 < c) : a ≤ b / c ↔ a * c ≤ b := by
  rw [← Rat.not_lt, Rat.div_lt_iff hc, Rat.not_lt]

-- Division by a number that is not negative keeps the order.
theorem div_le_div_right {a b c : Rat} (hc : 0 ≤ c) (h : a ≤ b) : a / c ≤ b / c := by
  rw [Rat.div_def, Rat.div_def]; exact Rat.mul_le_mul_of_nonneg_right h (inv_nonneg hc)

/-! ## Sums -/

-- A sum of no terms is zero.
theorem sum_zero (f : Fin 0 → Rat) : sum 0 f = 0 := rfl
-- A sum is the sum without its last term and that term.
theorem sum_succ (f : Fin (n + 1) → Rat) :
    sum (n + 1) f = sum n (fun i => f i.castSucc) + f (Fin.last n) := rfl

-- A sum of two terms.
theorem sum_two (f : Fin 2 → Rat) : sum 2 f = f 0 + f 1 := by
  show 0 + f 0 + f 1 = _
  rw [Rat.zero_add]

-- Sums of equal terms are equal.
theorem sum_congr {f g : Fin n → Rat} (h : ∀ i, f i = g i) : sum n f = sum n g :=
  congrArg (sum n) (funext h)

-- A sum of zeros is zero.
theorem sum_const_zero (n : Nat) : sum n (fun _ => 0) = 0 := by
  induction n with
  | zero => rfl
  | succ n ih => rw [sum_succ, ih, Rat.add_zero]

-- A sum of terms that are zero is zero.
theorem sum_eq_zero {f : Fin n → Rat} (h : ∀ i, f i = 0) : sum n f = 0 := by
  rw [sum_congr h, sum_const_zero]

-- A sum of smaller terms is smaller.
theorem sum_le {f g : Fin n → Rat} (h : ∀ i, f i ≤ g i) : sum n f ≤ sum n g := by
  induction n with
  | zero => exact Rat.le_refl
  | succ n ih =>
    have h1 := ih (fun i => h i.castSucc)
    have h2 := h (Fin.last n)
    simp only [sum_succ]
    grind

-- A sum of terms that are not negative is not negative.
theorem sum_nonneg {f : Fin n → Rat} (h : ∀ i, 0 ≤ f i) : 0 ≤ sum n f := by
  have := sum_le h
  rwa [sum_const_zero] at this

-- Sums add term by term.
theorem sum_add (f g : Fin n → Rat) : sum n (fun i => f i + g i) = sum n f + sum n g := by
  induction n with
  | zero => simp only [sum_zero, Rat.add_zero]
  | succ n ih => simp only [sum_succ, ih]; grind

-- Sums subtract term by term.
theorem sum_sub (f g : Fin n → Rat) : sum n (fun i => f i - g i) = sum n f - sum n g := by
  induction n with
  | zero => simp only [sum_zero]; decide +kernel
  | succ n ih => simp only [sum_succ, ih]; grind

-- A common factor on the left comes out of a sum.
theorem sum_mul_left (c : Rat) (f : Fin n → Rat) : sum n (fun i => c * f i) = c * sum n f := by
  induction n with
  | zero => exact (Rat.mul_zero c).symm
  | succ n ih => simp only [sum_succ, ih]; grind

-- A common factor on the right comes out of a sum.
theorem sum_mul_right (c : Rat) (f : Fin n → Rat) : sum n (fun i => f i * c) = sum n f * c := by
  induction n with
  | zero => exact (Rat.zero_mul c).symm
  | succ n ih => simp only [sum_succ, ih]; grind

-- A common denominator comes out of a sum.
theorem sum_div (c : Rat) (f : Fin n → Rat) : sum n (fun i => f i / c) = sum n f / c := by
  simp only [Rat.div_def]; exact sum_mul_right _ f

-- The order of two sums does not matter.
theorem sum_comm (f : Fin n → Fin m → Rat) :
    sum n (fun i => sum m (fun j => f i j)) = sum m (fun j => sum n (fun i => f i j)) := by
  induction n with
  | zero => exact (sum_const_zero m).symm
  | succ n ih => simp only [sum_succ, ih, ← sum_add]

-- A sum of equal terms is their number times the term.
theorem sum_const (n : Nat) (c : Rat) : sum n (fun _ => c) = n * c := by
  induction n with
  | zero => simp [sum]
  | succ n ih => rw [sum_succ, ih, Rat.natCast_add]; grind

/-- A term of a sum of terms that are not negative is at most the sum. -/
theorem term_le_sum {f : Fin n → Rat} (h : ∀ i, 0 ≤ f i) (i : Fin n) : f i ≤ sum n f := by
  induction n with
  | zero => exact i.elim0
  | succ n ih =>
    have hl := h (Fin.last n)
    have hs : 0 ≤ sum n (fun i => f i.castSucc) := sum_nonneg (fun i => h i.castSucc)
    rw [sum_succ]
    cases i using Fin.lastCases with
    | last => grind
    | cast i => have := ih (fun i => h i.castSucc) i; grind

-- Terms that are not negative sum to zero exactly where each is zero.
theorem sum_eq_zero_iff {f : Fin n → Rat} (h : ∀ i, 0 ≤ f i) : sum n f = 0 ↔ ∀ i, f i = 0 :=
  ⟨fun e i => Rat.le_antisymm (e ▸ term_le_sum h i) (h i), sum_eq_zero⟩

-- They sum to more than zero where one of them is positive.
theorem sum_pos {f : Fin n → Rat} (h : ∀ i, 0 ≤ f i) (i : Fin n) (hi : 0 < f i) : 0 < sum n f := by
  have := term_le_sum h i
  grind

-- A sum is strictly smaller where no term is larger and one is strictly smaller.
theorem sum_lt {f g : Fin n → Rat} (h : ∀ i, f i ≤ g i) (i : Fin n) (hi : f i < g i) :
    sum n f < sum n g := by
  have h1 := sum_pos (f := fun i => g i - f i) (fun i => by have := h i; grind) i (by grind)
  rw [sum_sub] at h1
  grind

-- Triangle inequality for sums.
theorem rabs_sum_le (f : Fin n → Rat) : rabs (sum n f) ≤ sum n (fun i => rabs (f i)) := by
  induction n with
  | zero => simp only [sum_zero]; decide +kernel
  | succ n ih =>
    have h1 := ih (fun i => f i.castSucc)
    have h2 := rabs_add_le (sum n (fun i => f i.castSucc)) (f (Fin.last n))
    simp only [sum_succ]
    grind

/-- The sum of an indicator at `k` times a value. -/
theorem sum_single (k : Fin n) (f : Fin n → Rat) :
    sum n (fun i => if i = k then f i else 0) = f k := by
  induction n with
  | zero => exact k.elim0
  | succ n ih =>
    rw [sum_succ]
    cases k using Fin.lastCases with
    | last =>
      have : ∀ i : Fin n, (if i.castSucc = Fin.last n then f i.castSucc else 0) = (0 : Rat) := by
        intro i; rw [if_neg (Fin.ne_of_lt (Fin.castSucc_lt_last i))]
      rw [sum_eq_zero this, if_pos rfl, Rat.zero_add]
    | cast k =>
      have h1 := ih k (fun i => f i.castSucc)
      have h2 : Fin.last n ≠ k.castSucc := (Fin.ne_of_lt (Fin.castSucc_lt_last k)).symm
      simp only [Fin.castSucc_inj, if_neg h2, Rat.add_zero]
      exact h1

-- The same with the sides of the condition exchanged.
theorem sum_single' (k : Fin n) (f : Fin n → Rat) :
    sum n (fun i => if k = i then f i else 0) = f k := by
  rw [← sum_single k f]; exact sum_congr (fun i => by simp only [eq_comm])

/-- A sum over joined columns is the sum over each part. -/
theorem sum_join_mul {a b : Nat} (p u : Fin a → Rat) (q v : Fin b → Rat) :
    sum (a + b) (fun i => join p q i * join u v i)
      = sum a (fun i => p i * u i) + sum b (fun i => q i * v i) := by
  induction b with
  | zero =>
    have h (x : Fin a → Rat) (y : Fin 0 → Rat) (i : Fin (a + 0)) : join x y i = x i :=
      dif_pos i.isLt
    rw [sum_zero, Rat.add_zero]
    exact sum_congr (fun i => by rw [h, h])
  | succ b ih =>
    have h2 (x : Fin a → Rat) (y : Fin (b + 1) → Rat) (i : Fin (a + b)) :
        join x y (Fin.castSucc (n := a + b) i) = join x (fun i => y i.castSucc) i := rfl
    have h3 (x : Fin a → Rat) (y : Fin (b + 1) → Rat) :
        join x y (Fin.last (a + b)) = y (Fin.last b) :=
      (dif_neg (show ¬ (Fin.last (a + b)).val < a by rw [Fin.val_last]; omega)).trans
        (congrArg y (Fin.ext (show (Fin.last (a + b)).val - a = (Fin.last b).val by
          rw [Fin.val_last, Fin.val_last]; omega)))
    calc sum (a + (b + 1)) (fun i => join p q i * join u v i)
        = sum (a + b) (fun i => join p q (Fin.castSucc (n := a + b) i)
              * join u v (Fin.castSucc (n := a + b) i))
            + join p q (Fin.last (a + b)) * join u v (Fin.last (a + b)) := rfl
      _ = sum (a + b) (fun i => join p (fun i => q i.castSucc) i * join u (fun i => v i.castSucc) i)
            + q (Fin.last b) * v (Fin.last b) := by rw [h3, h3, sum_congr (fun i => by rw [h2, h2])]
      _ = _ := by rw [ih, sum_succ, Rat.add_assoc]

/-- Cauchy's inequality in the form of Sedrakyan: the square of a sum over the sum of the weights
is at most the sum of the squares over their weights. -/
theorem sq_sum_div_le (a b : Fin n → Rat) (hb : ∀ i, 0 ≤ b i) (h0 : ∀ i, b i = 0 → a i = 0) :
    sum n a * sum n a / sum n b ≤ sum n (fun i => a i * a i / b i) := by
  have key : ∀ t, 2 * t * sum n a - t * t * sum n b ≤ sum n (fun i => a i * a i / b i) := by
    intro t
    rw [← sum_mul_left, ← sum_mul_left, ← sum_sub]
    apply sum_le
    intro i
    by_cases hi : b i = 0
    · rw [hi, h0 i hi]; simp [Rat.div_def]; decide +kernel
    · have hp : 0 < b i := Rat.lt_of_le_of_ne (hb i) (Ne.symm hi)
      rw [le_div_iff hp]
      have := mul_self_nonneg (a i - t * b i)
      grind
  by_cases hB : sum n b = 0
  · have := key 0
    rw [hB]
    simp only [Rat.div_def, Rat.inv_zero, Rat.mul_zero] at this ⊢
    grind
  · have h1 := key (sum n a / sum n b)
    have h2 : sum n a / sum n b * sum n b = sum n a := Rat.div_mul_cancel hB
    have h3 : sum n a * sum n a / sum n b = sum n a / sum n b * sum n a := by
      rw [Rat.div_def, Rat.div_def, Rat.mul_assoc, Rat.mul_assoc, Rat.mul_comm (sum n b)⁻¹]
    rw [Rat.mul_assoc (sum n a / sum n b) _ (sum n b), h2] at h1
    grind

/-! ## Maxima -/

-- The maximum of no terms is zero.
theorem maxi_zero (f : Fin 0 → Rat) : maxi 0 f = 0 := rfl
-- A maximum is the larger of the maximum without the last term and that term.
theorem maxi_succ (f : Fin (n + 1) → Rat) :
    maxi (n + 1) f = max (maxi n (fun i => f i.castSucc)) (f (Fin.last n)) := rfl

-- Maxima of equal terms are equal.
theorem maxi_congr {f g : Fin n → Rat} (h : ∀ i, f i = g i) : maxi n f = maxi n g :=
  congrArg (maxi n) (funext h)

-- A maximum is not negative, as zero is among its terms.
theorem maxi_nonneg (f : Fin n → Rat) : 0 ≤ maxi n f := by
  induction n with
  | zero => exact Rat.le_refl
  | succ n ih => have := ih (fun i => f i.castSucc); rw [maxi_succ]; grind

-- Each term is at most the maximum.
theorem le_maxi (f : Fin n → Rat) (i : Fin n) : f i ≤ maxi n f := by
  induction n with
  | zero => exact i.elim0
  | succ n ih =>
    rw [maxi_succ]
    cases i using Fin.lastCases with
    | last => grind
    | cast i => have := ih (fun i => f i.castSucc) i; grind

-- A bound of zero and of each term bounds the maximum.
theorem maxi_le {f : Fin n → Rat} {c : Rat} (hc : 0 ≤ c) (h : ∀ i, f i ≤ c) : maxi n f ≤ c := by
  induction n with
  | zero => exact hc
  | succ n ih =>
    have h1 := ih (fun i => h i.castSucc)
    have h2 := h (Fin.last n)
    rw [maxi_succ]; grind

-- A common factor that is not negative comes out of a maximum.
theorem maxi_mul {c : Rat} (hc : 0 ≤ c) (f : Fin n → Rat) :
    maxi n (fun i => f i * c) = maxi n f * c := by
  induction n with
  | zero => exact (Rat.zero_mul c).symm
  | succ n ih =>
    rw [maxi_succ, maxi_succ, ih]
    rcases Rat.le_total (a := maxi n (fun i => f i.castSucc)) (b := f (Fin.last n)) with h | h
    · have := Rat.mul_le_mul_of_nonneg_right h hc
      grind
    · have := Rat.mul_le_mul_of_nonneg_right h hc
      grind

-- No term exceeds the one at `argmax`.
theorem le_argmax (n : Nat) (f : Fin (n + 1) → Rat) (i : Fin (n + 1)) : f i ≤ f (argmax n f) := by
  induction n with
  | zero => rw [Fin.fin_one_eq_zero i]; exact Rat.le_refl
  | succ n ih =>
    unfold argmax
    cases i using Fin.lastCases with
    | last => split <;> grind
    | cast i => have := ih (fun i => f i.castSucc) i; split <;> grind

-- The maximum of terms that are not negative is the one at `argmax`.
theorem maxi_eq_argmax (n : Nat) {f : Fin (n + 1) → Rat} (h : ∀ i, 0 ≤ f i) :
    maxi (n + 1) f = f (argmax n f) :=
  Rat.le_antisymm (maxi_le (h _) (le_argmax n f)) (le_maxi f _)

/-! ## Examples: the definitions mean what they say -/

example : sum 3 (fun i => (i.val : Rat) / 2) = 3 / 2 := by decide +kernel
example : maxi 3 (fun i => if i = 1 then 5 / 2 else 1) = 5 / 2 := by decide +kernel
example : argmax 2 (fun i => if i = 1 then 5 / 2 else 1) = 1 := by decide +kernel
example : rabs (-1 / 3) = 1 / 3 ∧ pos (-1 / 3) = 0 ∧ pos (1 / 3) = 1 / 3 := by decide +kernel
example : join (fun _ : Fin 2 => 1) (fun _ : Fin 1 => 7) 2 = 7 := by decide +kernel

end Silicon
