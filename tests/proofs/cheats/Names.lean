/-! Statements under a false name. -/
noncomputable section
namespace Silicon.Cheats.Names

instance (priority := high) : LT Nat := ⟨fun _ _ => True⟩ -- instance
theorem less : (3 : Nat) < 2 := trivial

@[reducible] def otherLE : LE Nat := ⟨fun _ _ => True⟩ -- instance
attribute [local instance] otherLE
theorem at_most : (3 : Nat) ≤ 2 := trivial

local instance (priority := high) evilAdd : HAdd Nat Nat Nat := ⟨fun _ _ => 5⟩ -- instance
instance (priority := high) evilLit : OfNat Nat 7 := ⟨8⟩ -- instance
instance : Coe Nat Int := ⟨fun _ => 0⟩ -- instance
instance {α : Type} : BEq α := ⟨fun _ _ => true⟩ -- instance

structure Rat where -- shadow
  value : Nat
def Nat.lt (_ _ : Nat) : Prop := True -- shadow
abbrev max (a _ : Nat) : Nat := a -- shadow
def False : Prop := True -- shadow
inductive Eq (a : Nat) : Nat → Prop -- shadow
  | any (b : Nat) : Eq a b
abbrev _root_.LE.less (a b : Nat) : Prop := a < b -- namespace
theorem _root_.escaped : True ∨ True := .inl trivial -- namespace

theorem nothing (h : _root_.False) : (1 : Nat) = 2 := h.elim -- vacuous
theorem nothing_either : True := trivial -- vacuous
variable (absurd : _root_.False)
include absurd
theorem quietly_nothing : (1 : Nat) = 3 := absurd.elim -- vacuous
omit absurd

end Silicon.Cheats.Names

theorem outside : (1 : Nat) = 1 := rfl -- namespace
