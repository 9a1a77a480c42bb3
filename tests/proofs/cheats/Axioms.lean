/-! Gaps and axioms. -/
noncomputable section
namespace Silicon.Cheats.Axioms

theorem gap : (1 : Nat) = 2 := sorry -- sorry
theorem tactic_gap : (1 : Nat) = 3 := by sorry -- sorry
theorem admitted : (1 : Nat) = 4 := by admit -- sorry
theorem stopped : (1 : Nat) = 5 := by -- sorry
  stop
  rfl
theorem from_gap : (2 : Nat) = 1 := gap.symm -- sorry
def number : Nat := sorry -- sorry
theorem about_number : number = number := rfl -- sorry
theorem called : (1 : Nat) = 6 := sorryAx _ true -- sorry
private theorem hidden_gap : (1 : Nat) = 7 := sorry -- sorry
axiom assumed : (1 : Nat) = 8 -- axiom
theorem from_axiom : (8 : Nat) = 1 := assumed.symm -- axiom
class Wrong : Prop where
  wrong : False
axiom instWrong : Wrong -- axiom
attribute [instance] instWrong
theorem by_class : (1 : Nat) = 9 := (Wrong.wrong).elim -- axiom
theorem native : 2 + 2 = 4 := by native_decide -- native
theorem native_option : 2 + 3 = 5 := by decide +native -- native
theorem native_call : (2 + 4 == 6) = true := Lean.ofReduceBool (2 + 4 == 6) true rfl -- error
example : (1 : Nat) = 10 := sorry -- sorry
instance : Decidable (∀ n : Nat, n = n + 1) := .isTrue sorry -- sorry
theorem decided : ∀ n : Nat, n = n + 1 := by decide -- sorry
theorem from_within : (1 : Nat) = 11 := aux where -- sorry
  aux : (1 : Nat) = 11 := sorryAx _ true -- sorry
theorem from_let : (1 : Nat) = 12 := by -- sorry
  let rec go : (1 : Nat) = 12 := sorryAx _ true -- sorry
  exact go
inductive Wrap where | mk : Nat → Wrap
instance : Inhabited Wrap := ⟨⟨0⟩⟩
instance : Subsingleton Wrap := ⟨sorryAx _ true⟩ -- sorry

/-- Classical logic is allowed. -/
theorem excluded (p : Prop) : p ∨ ¬p := Classical.em p

end Silicon.Cheats.Axioms
