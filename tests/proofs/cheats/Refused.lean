/-! What is not elaborated at all, though a reading of the text may take it for a comment. -/
namespace Silicon.Cheats.Refused
/-- A number. -/
def number : Nat := 1
theorem hides : True \/-(1 : Int) = 1 := .inl trivial
#eval (IO.Process.exit 0 : IO Unit) -- syntax
open Nat in #eval number -- syntax
#check number -- syntax
#print number -- syntax
#reduce number -- syntax
export Nat (succ) -- syntax
seal number -- syntax
initialize pure () -- syntax
run_cmd pure () -- syntax
elab_rules : term | `(x) => pure default -- syntax
notation "x" => True -- syntax
class abbrev Order := LE Nat -- syntax
unif_hint (a : Nat) where |- a =?= 1 -- syntax
#guard_msgs in -- syntax
def text := include_str "/etc/passwd" -- syntax
theorem ran : True := by run_tac pure () -- syntax
end Silicon.Cheats.Refused
